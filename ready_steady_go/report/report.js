"use strict";
// Tables that sort by a click on a heading and keep the rows that hold every word typed; without this script they are plain tables.
const make = (name, about = {}) => Object.assign(document.createElement(name), about);

function value(row, column) {
  const cell = row.cells[column];
  if (!cell) return null;
  if (cell.dataset.v !== undefined) return Number(cell.dataset.v);
  return cell.textContent.toLowerCase() || null;
}

function compare(a, b) {
  if (a === null || b === null) return (a === null) - (b === null); // unknown comes last, both ways
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), undefined, { numeric: true });
}

function sortBy(table, heading) {
  const column = heading.cellIndex, body = table.tBodies[0];
  const up = heading.getAttribute("aria-sort") === "descending" || (!heading.hasAttribute("aria-sort") && !body.querySelector(`td:nth-child(${column + 1}).n`));
  const rows = Array.from(body.rows, (row) => [value(row, column), row]);
  rows.sort(([a], [b]) => (a === null || b === null || up ? compare(a, b) : compare(b, a)));
  for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", up ? "ascending" : "descending");
  body.append(...rows.map(([, row]) => row));
}

function keep(table, text, count) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  let n = 0;
  for (const row of table.tBodies[0].rows) {
    const said = row.textContent.toLowerCase();
    row.hidden = !words.every((word) => said.includes(word));
    n += !row.hidden;
  }
  count.textContent = words.length ? `${n} of ${table.tBodies[0].rows.length} rows` : "";
}

for (const figure of document.querySelectorAll(".rsg-table")) {
  const table = figure.querySelector("table"), caption = figure.querySelector("figcaption");
  for (const heading of table.tHead.rows[0].cells) {
    const button = make("button", { type: "button", textContent: heading.textContent, title: "sort" });
    button.addEventListener("click", () => sortBy(table, heading));
    heading.replaceChildren(button);
  }
  if (table.tBodies[0].rows.length < 2) continue;
  const count = make("output"), filter = make("input", { type: "search", placeholder: "filter" });
  filter.setAttribute("aria-label", `Filter: ${caption.textContent}`);
  filter.addEventListener("input", () => keep(table, filter.value, count));
  const box = make("span");
  box.append(count, filter);
  caption.append(box);
}

const headings = document.querySelectorAll("main h2"), nav = make("nav");
headings.forEach((heading, i) => {
  heading.id = heading.id || `s${i}`;
  nav.append(make("a", { href: `#${heading.id}`, textContent: heading.textContent.replace("¶", "") }), " ");
});
if (headings.length > 2) headings[0].before(nav);
