"use strict";
// Adds three choices, kept in the address, and sorting. Without this script the page is a plain table.
const board = document.getElementById("board"), body = board.tBodies[0];
const rows = Array.from(body.rows).filter((row) => row.dataset.model !== undefined);
const names = { model: "Model", precision: "Precision", gpu: "GPU" };
const selects = {}, count = document.createElement("output");

function chosen() {
  return Object.fromEntries(Object.entries(selects).map(([name, select]) => [name, select.value]).filter(([, value]) => value));
}

function show() {
  const wanted = Object.entries(chosen());
  let n = 0;
  for (const row of rows) {
    row.hidden = !wanted.every(([name, value]) => row.dataset[name] === value);
    n += !row.hidden;
  }
  count.textContent = `${n} of ${rows.length} numbers`;
}

function fromAddress() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  for (const [name, select] of Object.entries(selects)) {
    const value = wanted.get(name) || "";
    select.value = Array.from(select.options, (option) => option.value).includes(value) ? value : "";
  }
  show();
}

function value(row, column) {
  const cell = row.cells[column];
  return cell.dataset.v === undefined ? cell.textContent.toLowerCase() : Number(cell.dataset.v);
}

function sortBy(heading) {
  const column = heading.cellIndex, isNumber = rows.length > 0 && rows[0].cells[column].dataset.v !== undefined;
  const first = isNumber && heading.textContent !== "rank" ? "descending" : "ascending";
  const other = { ascending: "descending", descending: "ascending" };
  const order = other[heading.getAttribute("aria-sort")] || first, sign = order === "ascending" ? 1 : -1;
  const compare = (a, b) => (typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true }));
  rows.sort((a, b) => sign * compare(value(a, column), value(b, column)));
  for (const each of heading.parentNode.cells) each.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", order);
  body.append(...rows);
}

for (const [name, title] of Object.entries(names)) {
  const label = document.createElement("label"), select = document.createElement("select");
  const values = Array.from(new Set(rows.map((row) => row.dataset[name])));
  if (name === "gpu") values.sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
  select.append(new Option("all", ""), ...values.map((each) => new Option(name === "precision" ? each.toUpperCase() : each, each)));
  select.addEventListener("change", () => {
    history.replaceState(null, "", `#${new URLSearchParams(chosen())}`);
    show();
  });
  selects[name] = select;
  label.append(title, select);
  document.getElementById("choices").append(label);
}
document.getElementById("choices").append(count);
for (const heading of board.tHead.rows[0].cells) {
  const button = document.createElement("button");
  Object.assign(button, { type: "button", textContent: heading.textContent, title: "sort" });
  button.addEventListener("click", () => sortBy(heading));
  heading.replaceChildren(button);
}
addEventListener("hashchange", fromAddress);
if (location.hash.length > 1) fromAddress();
else {
  if (rows.length) selects.model.value = rows[0].dataset.model; // the model with the most boxes
  show();
}
