"use strict";
// Follows the server of rsg dashboard: twice a second it asks for the state, and it renews the page in place when there is a newer one.
(() => {
  const note = document.getElementById("live-state"), problems = document.getElementById("live-problems");
  const versionOf = (page) => page.querySelector("meta[name=rsg-version]").content;
  let version = versionOf(document), failures = 0;

  function setText(box, text) {
    if (box.textContent !== text) box.textContent = text; // a screen reader reads what changes
    box.hidden = !text;
  }

  function renew(fresh) {
    // The charts redraw themselves; open sections, filters, the place and the focus stay.
    const before = tables, focused = before.find((table) => table.filter === document.activeElement), [x, y] = [scrollX, scrollY];
    const open = new Set(Array.from(document.querySelectorAll("details.section[open] h2"), (heading) => heading.textContent));
    const app = document.getElementById("app"), parts = [...fresh.querySelector("main").childNodes], at = parts.findIndex((node) => node.id === "app");
    for (const node of [...app.parentNode.childNodes]) if (node !== app) node.remove();
    app.before(...parts.slice(0, at));
    app.after(...parts.slice(at + 1));
    for (const heading of document.querySelectorAll("details.section h2")) if (open.has(heading.textContent)) heading.closest("details").open = true;
    for (const one of ["#rsg-data", "footer"]) document.querySelector(one).replaceWith(fresh.querySelector(one));
    readySections();
    for (const table of tables) table.resume(before.find((other) => other.title === table.title));
    if (focused) tables.find((table) => table.title === focused.title)?.filter?.focus({ preventScroll: true });
    dispatchEvent(new Event("rsg-data"));
    scrollTo({ left: x, top: y, behavior: "instant" });
  }

  async function follow() {
    try {
      const state = await (await fetch("version", { cache: "no-store" })).json();
      if (state.version !== version) {
        const fresh = new DOMParser().parseFromString(await (await fetch("./", { cache: "no-store" })).text(), "text/html");
        renew(fresh);
        version = versionOf(fresh);
      }
      failures = 0;
      setText(note, state.text);
      setText(problems, state.problems.join("\n"));
    } catch (error) {
      failures += 1;
      if (failures > 1) setText(problems, "rsg dashboard has ended, or cannot be reached; start it again");
    }
    setTimeout(follow, failures > 1 ? 3000 : 500);
  }
  follow();
})();
