"use strict";
// Makes tables sortable (click a heading), filterable (rows with all typed words) and paged. Without this script they are plain tables.
const PAGE_ROWS = 100;
const element = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};

function number(value) {
  // As a reader sees it: four digits, or a whole number with commas.
  if (value === null || value === undefined) return "";
  if (Math.abs(value) >= 1000 || Number.isInteger(value)) return Math.round(value).toLocaleString("en-US");
  return String(Number(value.toPrecision(4)));
}

function cellValue(cell) {
  if (cell.dataset.v !== undefined) return Number(cell.dataset.v);
  return cell.textContent || null;
}

async function unpacked(template) {
  // The rows of a long table: base64 of gzipped JSON, a list for each column.
  const bytes = Uint8Array.from(atob(template.content.textContent.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const columns = JSON.parse(await new Response(stream).text());
  return Array.from({ length: Number(template.dataset.n) }, (_, i) => columns.map((column) => column[i]));
}

function compare(a, b) {
  if (a === null || b === null) return (a === null) - (b === null); // unknown values come last in both directions
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), undefined, { numeric: true });
}

class PagedTable {
  constructor(figure) {
    this.figure = figure;
    this.table = figure.querySelector("table");
    this.body = this.table.tBodies[0];
    this.packed = figure.querySelector("template");
    this.rows = this.packed ? null : Array.from(this.body.rows, (row) => Array.from(row.cells, cellValue));
    this.total = this.packed ? Number(this.packed.dataset.n) : this.rows.length;
    this.title = figure.querySelector("figcaption").textContent;
    this.words = [];
    this.page = 0;
    this.addHeadings();
    if (this.total > 1) this.addFilter();
    if (this.total > PAGE_ROWS) this.addPager();
  }

  addHeadings() {
    for (const heading of this.table.tHead.rows[0].cells) {
      const button = element("button", { type: "button", textContent: heading.textContent, title: "sort" });
      button.addEventListener("click", () => this.sortBy(heading));
      heading.replaceChildren(button);
    }
  }

  addFilter() {
    const caption = this.figure.querySelector("figcaption");
    const filter = (this.filter = element("input", { type: "search", placeholder: "filter", ariaLabel: `Filter: ${this.title}` }));
    filter.addEventListener("input", () => {
      this.words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
      this.page = 0;
      this.draw();
    });
    this.count = element("output");
    caption.append(element("span", {}, this.count, filter));
  }

  addPager() {
    const step = (by, text) => {
      const button = element("button", { type: "button", textContent: text });
      button.addEventListener("click", () => ((this.page += by), this.draw()));
      return button;
    };
    this.back = step(-1, "previous");
    this.next = step(1, "next");
    this.where = element("output", { textContent: `1 to ${PAGE_ROWS} of ${this.total.toLocaleString("en-US")}` });
    this.back.disabled = true;
    this.figure.querySelector(".note")?.remove();
    this.figure.append(element("div", { className: "pager" }, this.back, this.where, this.next));
  }

  sortBy(heading) {
    const column = heading.cellIndex, was = heading.getAttribute("aria-sort");
    const up = was === "descending" || (!was && !this.body.querySelector(`td:nth-child(${column + 1}).n`));
    for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", up ? "ascending" : "descending");
    this.order = { column, up };
    this.page = 0;
    this.draw();
  }

  resume(other) {
    // Filters and sorts as the table that it replaces, if there was one.
    if (!other) return;
    if (this.filter && other.words.length) Object.assign(this.filter, { value: other.filter.value }), (this.words = other.words);
    if (other.order && this.table.tHead.textContent === other.table.tHead.textContent) {
      this.order = other.order;
      this.table.tHead.rows[0].cells[this.order.column].setAttribute("aria-sort", this.order.up ? "ascending" : "descending");
    }
    if (this.order || this.words.length) this.draw();
  }

  async draw() {
    this.figure.ariaBusy = "true";
    this.rows ||= await unpacked(this.packed);
    if (this.order) {
      const { column, up } = this.order;
      const sign = (a, b) => (a === null || b === null || up ? 1 : -1);
      this.rows.sort((a, b) => sign(a[column], b[column]) * compare(a[column], b[column]));
    }
    const text = (row) => row.map((value) => (typeof value === "number" ? number(value) : value || "")).join(" ").toLowerCase();
    const found = this.words.length ? this.rows.filter((row) => this.words.every((word) => text(row).includes(word))) : this.rows;
    const first = this.page * PAGE_ROWS;
    this.body.replaceChildren(...found.slice(first, first + PAGE_ROWS).map((row) => this.row(row)));
    this.report(found.length, first);
    this.figure.ariaBusy = "false";
  }

  row(values) {
    const cell = (value) => {
      if (typeof value !== "number") return element("td", { textContent: value || "" });
      const made = element("td", { textContent: number(value), className: "n" });
      made.dataset.v = value;
      return made;
    };
    return element("tr", {}, ...values.map(cell));
  }

  report(n, first) {
    const count = (value) => value.toLocaleString("en-US");
    if (this.count) this.count.textContent = this.words.length ? `${count(n)} of ${count(this.total)} rows` : "";
    if (!this.where) return;
    this.where.textContent = n ? `${count(first + 1)} to ${count(Math.min(n, first + PAGE_ROWS))} of ${count(n)}` : "no row";
    this.back.disabled = !first;
    this.next.disabled = first + PAGE_ROWS >= n;
  }
}

let tables = [];

function readySections() {
  tables = Array.from(document.querySelectorAll(".rsg-table"), (figure) => new PagedTable(figure));
  const headings = document.querySelectorAll("main > h2, main > details h2"), nav = element("nav", { ariaLabel: "Sections" });
  headings.forEach((heading, i) => {
    heading.id = heading.id || `s${i}`;
    const link = element("a", { href: `#${heading.id}`, textContent: heading.textContent.replace("¶", "") });
    link.addEventListener("click", () => {
      const folded = heading.closest("details");
      if (folded) folded.open = true;
    });
    nav.append(link, " ");
  });
  if (headings.length > 2) (headings[0].closest("details") || headings[0]).before(nav);
}

readySections();
