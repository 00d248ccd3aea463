"use strict";
// Makes tables sortable (click a heading) and filterable (rows with all typed words). Without this script they are plain tables.
const element = (name, properties = {}) => Object.assign(document.createElement(name), properties);

function value(row, column) {
  const cell = row.cells[column];
  if (!cell) return null;
  if (cell.dataset.v !== undefined) return Number(cell.dataset.v);
  return cell.textContent.toLowerCase() || null;
}

function compare(a, b) {
  if (a === null || b === null) return (a === null) - (b === null); // unknown values come last in both directions
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

function filterRows(table, text, count) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  let n = 0;
  for (const row of table.tBodies[0].rows) {
    const rowText = row.textContent.toLowerCase();
    row.hidden = !words.every((word) => rowText.includes(word));
    n += !row.hidden;
  }
  count.textContent = words.length ? `${n} of ${table.tBodies[0].rows.length} rows` : "";
}

for (const figure of document.querySelectorAll(".rsg-table")) {
  const table = figure.querySelector("table"), caption = figure.querySelector("figcaption");
  for (const heading of table.tHead.rows[0].cells) {
    const button = element("button", { type: "button", textContent: heading.textContent, title: "sort" });
    button.addEventListener("click", () => sortBy(table, heading));
    heading.replaceChildren(button);
  }
  if (table.tBodies[0].rows.length < 2) continue;
  const count = element("output"), filter = element("input", { type: "search", placeholder: "filter" });
  filter.setAttribute("aria-label", `Filter: ${caption.textContent}`);
  filter.addEventListener("input", () => filterRows(table, filter.value, count));
  const box = element("span");
  box.append(count, filter);
  caption.append(box);
}

const headings = document.querySelectorAll("main h2"), nav = element("nav");
headings.forEach((heading, i) => {
  heading.id = heading.id || `s${i}`;
  nav.append(element("a", { href: `#${heading.id}`, textContent: heading.textContent.replace("¶", "") }), " ");
});
if (headings.length > 2) headings[0].before(nav);
