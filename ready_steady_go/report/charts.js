"use strict";
// Draws the cards and charts of the chosen model, precision, mode and GPUs; the choice is kept in the page's address.
// All values come from the page's data; only the frontier, what fits and the order of bars are found here.
(() => {
  const app = document.getElementById("app");
  let data = null;

  const NARROW = 600, MOST_BARS = 40, MOST_LINES = 8, FONT = 13, BAR = 16, GAP = 1.125;
  const RESULT = 0, OOM = 3, STATUS = ["full measurement", "not steady", "short measurement", "does not fit"];
  const COLORS = { fp16: "#56b4e9", fp32: "#0072b2", bf16: "#e69f00", tf32: "#d55e00" };
  const LINES = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#9a7d0a", "#888888"];
  const DASHES = ["solid", "dashed", "dotted"];
  const SYMBOLS = { "on-demand": "circle", spot: "diamond" };
  const CROSS = "path://M1,0 L5,4 L9,0 L10,1 L6,5 L10,9 L9,10 L5,6 L1,10 L0,9 L4,5 L0,1 Z";
  const GIB = [4, 6, 8, 10, 11, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 141, 192];
  const UNKNOWN_KIND = "unknown whether spot or on-demand";
  const state = { model: "", precision: "", mode: "", gpus: null, show: "throughput", gib: 24, gpu: "" };

  // The data

  const asObjects = (rows, fields) => rows.map((row) => Object.fromEntries(fields.map((field, i) => [field, row[i]])));
  const readied = new WeakMap();
  function ready(chart) {
    if (!readied.has(chart)) {
      const bars = Object.fromEntries(Object.entries(chart.bars).map(([metric, rows]) => [metric, asObjects(rows, data.bar)]));
      readied.set(chart, { bars, points: asObjects(chart.points, data.point) });
    }
    return readied.get(chart);
  }
  const gpuOf = (row) => data.names[row.name][0];
  const nameOf = (row) => data.names[row.name].filter(Boolean).join(", ");
  const chosenGpu = (row) => !state.gpus || state.gpus.has(gpuOf(row));
  const barsOf = (chart, metric) => (ready(chart).bars[metric] || []).filter(chosenGpu);
  const pointsOf = (chart) => ready(chart).points.filter(chosenGpu);
  const isRanked = (bar) => bar.boxes > 0 && bar.kind !== "not steady";
  const distinct = (values) => [...new Set(values)];
  const ofModel = () => data.charts.filter((c) => c.model === state.model && c.mode === state.mode);
  const chosenCharts = () => ofModel().filter((c) => state.precision === "all" || c.precision === state.precision);
  const byName = (a, b) => a.localeCompare(b, undefined, { numeric: true });

  function usualPrecision(charts) {
    const gpus = (c) => distinct((ready(c).bars.throughput || []).filter(isRanked).map(gpuOf)).length + ready(c).points.length / 1e6;
    return charts.reduce((a, b) => (gpus(b) > gpus(a) ? b : a)).precision;
  }

  // The choice, and its address

  const form = document.getElementById("choice"), gpuBox = document.getElementById("gpus");

  function setOptions(select, values, label) {
    const same = Array.from(select.options, (option) => option.value).join("\n") === values.join("\n");
    if (!same) select.replaceChildren(...values.map((value) => element("option", { value, textContent: label(value) }))); // it closes an open list
  }

  function fill(name, values, label = (v) => v) {
    const select = form.elements[name];
    setOptions(select, values, label);
    if (!values.includes(state[name])) state[name] = values[0];
    select.value = state[name];
  }

  function fillSelects() {
    fill("model", distinct(data.charts.map((c) => c.model)));
    fill("mode", distinct(data.charts.filter((c) => c.model === state.model).map((c) => c.mode)));
    const precisions = distinct(ofModel().map((c) => c.precision)), usual = usualPrecision(ofModel());
    const order = [usual, ...precisions.filter((p) => p !== usual)];
    fill("precision", order.length > 1 ? [...order, "all"] : order, (p) => (p === "all" ? "all" : p.toUpperCase()));
  }

  const gpusOfModel = () => distinct(ofModel().flatMap((c) => [...Object.values(ready(c).bars).flat(), ...ready(c).points].map(gpuOf))).sort(byName);

  function fillGpus() {
    const gpus = gpusOfModel(), chosen = gpus.filter((gpu) => !state.gpus || state.gpus.has(gpu));
    gpuBox.querySelector("output").textContent = chosen.length === gpus.length ? `all ${gpus.length}` : `${chosen.length} of ${gpus.length}`;
    const shown = Array.from(gpuBox.querySelectorAll("input"), (box) => box.value);
    if (shown.join("\n") !== gpus.join("\n")) {
      const box = (gpu) => element("label", {}, element("input", { type: "checkbox", value: gpu }), ` ${gpu}`);
      gpuBox.querySelectorAll("label").forEach((label) => label.remove());
      gpuBox.querySelector("fieldset").append(...gpus.map(box));
    }
    for (const box of gpuBox.querySelectorAll("input")) box.checked = !state.gpus || state.gpus.has(box.value);
  }

  function readAddress() {
    const given = new URLSearchParams(location.hash.slice(1));
    if (!location.hash.includes("=")) return;
    for (const name of ["model", "precision", "mode", "show", "gpu"]) state[name] = given.get(name) ?? state[name];
    if (!(state.show in data.metrics)) state.show = "throughput";
    if (GIB.includes(Number(given.get("gib")))) state.gib = Number(given.get("gib"));
    state.gpus = given.has("with") ? new Set(given.getAll("with")) : null;
  }

  function writeAddress() {
    const kept = new URLSearchParams({ model: state.model, precision: state.precision, mode: state.mode });
    for (const gpu of state.gpus || []) kept.append("with", gpu);
    if (state.show !== "throughput") kept.set("show", state.show);
    if (state.gib !== 24) kept.set("gib", state.gib);
    if (state.gpu) kept.set("gpu", state.gpu);
    history.replaceState(null, "", `#${kept}`);
  }

  // Cards

  const CARDS = [
    ["Fastest", "throughput", false, "No result of this choice is steady, so none is ranked."],
    ["Cheapest", "usd_per_msample", true, "No price is known; measure with --usd-per-hour."],
    ["Most frugal", "samples_per_joule", false, "No ranked result has energy: these devices do not report it."],
  ];
  const boxes = (n) => (n === 1 ? "1 box" : `${n} boxes`);

  function plusMinus(value, half) {
    // A number with the digits that its half width leaves.
    const last = Math.min(half, Math.abs(value)), digits = Number(last.toExponential()[0] === "1") - Math.floor(Math.log10(last));
    const text = (v) => (digits > 0 ? v.toFixed(digits) : number(Math.round(v / 10 ** -digits) * 10 ** -digits));
    return `${text(value)} ± ${text(half)}`;
  }

  function withInterval(bar) {
    if (!(bar.high > bar.low)) return number(bar.middle);
    return bar.boxes > 1 ? `${number(bar.middle)} (${number(bar.low)} to ${number(bar.high)})` : plusMinus(bar.middle, (bar.high - bar.low) / 2);
  }

  const withUnit = (text, metric) => (metric === "usd_per_msample" ? `$${text} per million samples` : `${text} ${data.metrics[metric]}`);

  function card([title, metric, less, missing]) {
    const bars = chosenCharts().flatMap((c) => barsOf(c, metric).filter(isRanked).map((bar) => ({ ...bar, precision: c.precision })));
    const made = element("article", { className: "card" }, element("h3", { textContent: title }));
    if (!bars.length) {
      made.classList.add("none");
      made.append(element("p", { textContent: missing }));
      return made;
    }
    const [best, ...others] = bars.sort((a, b) => (less ? a.middle - b.middle : b.middle - a.middle));
    const tied = distinct(others.filter((b) => b.name !== best.name && b.low <= best.high && b.high >= best.low).map(nameOf));
    const facts = [
      boxes(best.boxes), best.kind, state.precision === "all" && best.precision.toUpperCase(), metric === "throughput" && `batch size ${best.bs}`,
      `of ${distinct(bars.map(gpuOf)).length} GPUs`.replace(/^of 1 GPUs$/, "the only GPU"),
    ];
    made.append(
      element("p", { className: "gpu", textContent: nameOf(best) }),
      element("p", { className: "value", textContent: withUnit(withInterval(best), metric) }),
      element("p", { textContent: facts.filter(Boolean).join(" · ") }),
    );
    if (tied.length) made.append(element("p", { textContent: `Not told apart from ${tied.slice(0, 3).join(", ")}${tied.length > 3 ? " …" : ""}: the intervals overlap.` }));
    return made;
  }

  // Figures

  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const look = () => ({ ink: css("ink"), paper: css("paper"), line: css("line"), dim: css("dim") });
  const escaped = (text) => echarts.format.encodeHTML(String(text));
  let printing = false;

  class Figure {
    constructor(id, title) {
      this.title = element("h3", { textContent: title, id: `${id}-title` });
      this.tools = element("span", { className: "tools" });
      this.plot = element("div", { className: "plot" });
      this.plot.setAttribute("role", "img");
      this.note = element("p", { className: "note" });
      this.rows = element("div");
      this.table = element("details", {}, element("summary", { textContent: "Table" }), this.rows);
      this.table.addEventListener("toggle", () => this.fillTable());
      this.root = element("figure", { id, className: "chart" }, element("figcaption", {}, this.title, this.tools), this.plot, this.note, this.table);
      this.root.setAttribute("aria-labelledby", this.title.id);
      for (const kind of ["SVG", "PNG"]) {
        const button = element("button", { type: "button", textContent: kind, title: `save as ${kind}` });
        button.addEventListener("click", () => this.save(kind.toLowerCase()));
        this.tools.append(button);
      }
      document.getElementById("charts").append(this.root);
    }

    show(title, note, heads, rows) {
      this.root.hidden = false;
      this.title.textContent = title;
      this.note.textContent = note;
      this.note.hidden = !note;
      this.content = { heads, rows };
      const top = rows.slice(0, 5).map((row) => row.filter((v) => v !== "").join(" "));
      this.plot.setAttribute("aria-label", `${title}: ${top.join("; ")}${rows.length > 5 ? "; more in the table" : ""}`);
      this.fillTable();
    }

    fillTable() {
      if (!this.table.open || !this.content) return; // made when it is looked at
      const head = element("tr", {}, ...this.content.heads.map((textContent) => element("th", { scope: "col", textContent })));
      const cells = (row) => row.map((v) => element("td", { textContent: typeof v === "number" ? number(v) : (v ?? ""), className: typeof v === "number" ? "n" : "" }));
      const body = this.content.rows.map((row) => element("tr", {}, ...cells(row)));
      this.rows.replaceChildren(element("table", {}, element("thead", {}, head), element("tbody", {}, ...body)));
    }

    draw(option, height) {
      const width = this.width(), { ink, paper, line } = look();
      this.plot.style.height = `${height}px`;
      this.chart ||= echarts.init(this.plot, null, { renderer: "svg", width, height });
      this.chart.resize({ width, height });
      const text = { fontSize: FONT, fontFamily: "system-ui, sans-serif", color: ink };
      const tooltip = { confine: true, backgroundColor: paper, borderColor: line, textStyle: text, transitionDuration: 0, ...option.tooltip };
      const legend = option.legend && { top: 0, left: 0, textStyle: { ...text, width: width - 60, overflow: "truncate" }, inactiveColor: look().dim, ...option.legend };
      this.chart.setOption({ animation: false, backgroundColor: paper, textStyle: text, ...option, tooltip, legend }, true);
    }

    legendHeight(names) {
      // Names wrap to several lines; a letter is about 7.5 pixels wide.
      const width = this.width();
      let lines = 1, used = 0;
      for (const name of names) {
        const each = Math.min(width, 7.5 * name.length + 48);
        if (used + each > width && used) (lines++, (used = 0));
        used += each;
      }
      return 24 * lines;
    }

    width() {
      return printing ? 680 : this.root.clientWidth;
    }

    save(kind) {
      const link = element("a", { download: `${this.root.id}.${kind}` });
      const svg = this.chart.renderToSVGString();
      const blob = URL.createObjectURL(new Blob([svg], { type: "image/svg+xml" }));
      if (kind === "svg") return Object.assign(link, { href: blob }).click();
      const image = new Image(), canvas = element("canvas", { width: 2 * this.chart.getWidth(), height: 2 * this.chart.getHeight() });
      image.onload = () => {
        canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
        Object.assign(link, { href: canvas.toDataURL("image/png") }).click();
      };
      image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
    }
  }

  function axis(more) {
    const { ink, line, dim } = look();
    const label = { color: ink, fontSize: FONT, hideOverlap: true };
    return { nameTextStyle: { color: dim, fontSize: FONT }, axisLine: { lineStyle: { color: line } }, splitLine: { lineStyle: { color: line } }, axisTick: { show: false }, ...more, axisLabel: { ...label, ...more.axisLabel } };
  }
  const valueAxis = (more) => axis({ type: "value", min: 0, splitNumber: 4, ...more, axisLabel: { formatter: number, ...more.axisLabel } });
  const titled = (what) => [what, state.model, state.mode === "train" ? "" : state.mode, state.precision === "all" ? "" : state.precision.toUpperCase()].filter(Boolean).join(", ");

  // Bars

  const section = (bar) => (bar.boxes === 0 ? 2 : bar.kind === "not steady" ? 1 : 0);

  function barRows(metric) {
    const rows = ofModel().flatMap((c) => barsOf(c, metric).map((bar) => ({ ...bar, precision: c.precision })));
    const kindOf = (bar) => (metric === "usd_per_msample" ? bar.kind.replace(UNKNOWN_KIND, "unknown kind") : "");
    for (const row of rows) {
      row.series = [row.precision.toUpperCase(), kindOf(row)].filter(Boolean).join(", ");
      row.key = `${section(row)} ${row.name} ${section(row) === 2 ? row.kind : ""}`;
    }
    return rows;
  }

  function barCategories(rows, visible, less) {
    const found = new Map();
    for (const row of rows.filter((r) => visible.has(r.series))) {
      const chosen = row.precision === state.precision, was = found.get(row.key) || { row, chosen: false, best: null };
      const better = was.best === null || (chosen && !was.chosen) || (chosen === was.chosen && (less ? row.middle < was.best : row.middle > was.best));
      found.set(row.key, better ? { row, chosen, best: row.middle } : was);
    }
    const order = (a, b) => section(a.row) - section(b.row) || b.chosen - a.chosen || (less ? a.best - b.best : b.best - a.best);
    return [...found.values()].sort(order).map(({ row }) => row);
  }

  function barLabel(row) {
    const [gpu, note] = data.names[row.name];
    return [gpu, note || [null, "not steady, not ranked", row.kind][section(row)]].filter(Boolean).join("\n");
  }

  function whisker(offset, values, colors) {
    return (params, api) => {
      const row = values[params.dataIndex], [low, y] = api.coord([row.low, row.at]), [high] = api.coord([row.high, row.at]);
      const [end] = api.coord([Math.max(row.high, row.middle), row.at]), middle = y + offset, style = { stroke: colors.ink, lineWidth: 1.5, fill: "none" };
      const line = (x1, y1, x2, y2) => ({ type: "line", shape: { x1, y1, x2, y2 }, style });
      const lines = row.high > row.low ? [line(low, middle, high, middle), line(low, middle - 4, low, middle + 4), line(high, middle - 4, high, middle + 4)] : [];
      const mine = row.mine !== null && row.boxes > 1 ? [{ type: "text", style: { text: "◆", x: api.coord([row.mine, row.at])[0], y: middle, fill: colors.ink, stroke: colors.paper, lineWidth: 2, align: "center", verticalAlign: "middle", fontSize: FONT } }] : [];
      const text = number(row.middle) + (row.boxes ? ` · ${boxes(row.boxes)}` : "");
      const label = { type: "text", style: { text, x: end + 6, y: middle, fill: colors.ink, verticalAlign: "middle", fontSize: FONT, fontFamily: "system-ui, sans-serif" } };
      return { type: "group", children: [...lines, ...mine, label] };
    };
  }

  function barStyle(row) {
    const color = COLORS[row.precision] || "#999999", { paper } = look();
    if (section(row)) return { color: paper, borderColor: color, borderWidth: 1.5, borderType: section(row) === 1 ? "dashed" : "solid", decal: section(row) === 2 ? { symbol: "rect", dashArrayX: [1, 0], dashArrayY: [2, 5], rotation: -0.8, color } : undefined };
    return { color, decal: row.kind === "spot" ? { symbol: "rect", dashArrayX: [1, 0], dashArrayY: [2, 5], rotation: -0.8, color: paper } : undefined };
  }

  const hidden = new Set(); // series that the legend switched off
  let figures;

  function drawBars() {
    const metric = state.show, less = metric === "usd_per_msample", rows = barRows(metric), figure = figures.bars, colors = look();
    const names = distinct(rows.map((r) => r.series)).sort((a, b) => (a > b) - (a < b));
    const visible = new Set(names.filter((name) => !hidden.has(name)));
    const all = barCategories(rows, visible, less), categories = all.slice(0, MOST_BARS), at = new Map(categories.map((row, i) => [row.key, i]));
    const shown = rows.filter((row) => visible.has(row.series) && at.has(row.key)).sort((a, b) => at.get(a.key) - at.get(b.key));
    for (const row of shown) row.at = at.get(row.key);
    const heads = ["GPU", "precision", "kind", data.metrics[metric], "from", "to", "boxes", "batch size"];
    const note = [
      shown.some((r) => r.boxes > 1) && "A line goes from the lowest to the highest box; with one box it is the interval.",
      shown.some((r) => r.boxes > 1 && r.mine !== null) && "◆ is your box.", shown.some((r) => section(r) === 1) && "Dashed bars are not ranked.",
      shown.some((r) => section(r) === 2) && "Hatched bars were published by others.", less && shown.some((r) => r.kind === "spot") && "Hatched bars are spot prices: a spot box can be taken away.",
      all.length > MOST_BARS && `The first ${MOST_BARS} of ${all.length} bars; choose GPUs to see others.`,
    ];
    figure.show(titled("Best batch"), note.filter(Boolean).join(" "), heads, shown.map((r) => [nameOf(r), r.precision.toUpperCase(), r.kind, r.middle, r.low, r.high, r.boxes || "", r.bs || ""]));
    const width = figure.width(), above = figure.legendHeight(names) + 12, narrow = width < NARROW, n = Math.max(1, visible.size), thick = n * (BAR + 2);
    const two = categories.some((row) => barLabel(row).includes("\n")), label = narrow ? (two ? 36 : 20) : 0, row = Math.max(thick + 14 + label, narrow ? 0 : two ? 42 : 26);
    const top = label * GAP - (label * GAP + n * BAR * GAP - BAR * (GAP - 1)) / 2; // of the first bar, from the middle of its row
    const color = (name) => COLORS[rows.find((r) => r.series === name).precision] || "#999999";
    const off = names.filter((name) => hidden.has(name)).map((name) => ({ type: "bar", name, color: color(name), data: [] })); // else the legend lacks them
    const series = [...visible].flatMap((name, k) => {
      const values = shown.filter((r) => r.series === name), offset = top + k * BAR * GAP + BAR / 2;
      const draw = { type: "bar", name, color: color(name), barWidth: BAR, barGap: `${100 * (GAP - 1)}%`, data: values.map((r) => ({ value: [r.middle, r.at], row: r, itemStyle: barStyle(r) })) };
      return [draw, { type: "custom", name, silent: true, clip: false, z: 5, renderItem: whisker(offset, values, colors), data: values.map((r) => [r.high, r.at]), tooltip: { show: false } }];
    });
    const text = (r) => `${[nameOf(r), r.series, r.kind && !r.series.includes(r.kind) ? r.kind : ""].filter(Boolean).map(escaped).join("<br>")}<br>${escaped(withUnit(withInterval(r), metric))}<br>${r.boxes ? boxes(r.boxes) : ""}${r.bs ? `, batch size ${escaped(r.bs)}` : ""}`;
    const selected = Object.fromEntries(names.map((name) => [name, visible.has(name)]));
    const labels = narrow
      ? { inside: true, align: "left", verticalAlign: "bottom", margin: 0, padding: [0, 0, Math.max(0, 3 - top), 0], lineHeight: 16, width: width - 16, overflow: "truncate" }
      : { width: Math.min(280, 0.34 * width), overflow: "truncate", lineHeight: 16 };
    figure.draw({
      tooltip: { formatter: (p) => text(p.data.row) }, legend: { data: names, selected },
      grid: { left: narrow ? 4 : Math.min(300, 0.34 * width + 16), right: 128, top: above, bottom: 44 },
      xAxis: valueAxis({ name: data.metrics[metric], nameLocation: "middle", nameGap: 28 }),
      yAxis: axis({ type: "category", inverse: true, data: categories.map(barLabel), z: 10, splitLine: { show: false }, axisLabel: { interval: 0, hideOverlap: false, ...labels } }),
      series: [...(label ? [{ type: "bar", barWidth: label, data: [], silent: true }] : []), ...series, ...off], // an empty bar makes room for the label
    }, above + 44 + row * Math.max(1, categories.length));
    if (!figure.heard) figure.chart.on("legendselectchanged", (event) => {
      for (const [name, on] of Object.entries(event.selected)) on ? hidden.delete(name) : hidden.add(name);
      drawBars();
    });
    figure.heard = true;
  }

  function resetLegend(kept = new Set()) {
    // Switches on the series of the chosen precision only; those in `kept` stay as they are.
    for (const name of hidden) if (!kept.has(name)) hidden.delete(name);
    if (state.precision === "all") return;
    for (const row of barRows(state.show).filter((r) => r.precision !== state.precision && !kept.has(r.series))) hidden.add(row.series);
  }

  // Throughput and memory over batch size

  function curveSeries() {
    const lines = new Map();
    for (const c of chosenCharts())
      for (const point of pointsOf(c)) {
        const name = [nameOf(point), state.precision === "all" ? c.precision.toUpperCase() : ""].filter(Boolean).join(" ");
        if (!lines.has(name)) lines.set(name, []);
        lines.get(name).push(point);
      }
    const top = (points) => Math.max(...points.map((p) => p.throughput || 0));
    return [...lines].filter(([, points]) => points.filter((p) => p.order !== OOM).length > 1).sort(([, a], [, b]) => top(b) - top(a));
  }

  function drawCurves() {
    const all = curveSeries(), lines = all.slice(0, MOST_LINES), figure = figures.curves;
    if (!lines.length) return void (figure.root.hidden = true);
    const rows = lines.flatMap(([name, points]) => points.map((p) => [name, p.bs, p.throughput ?? "", p.half ?? "", p.memory ?? "", STATUS[p.order]]));
    const note = ["Full marks are full measurements; hollow ones are short or not steady. A cross did not fit into memory.", all.length > lines.length && `The fastest ${lines.length} of ${all.length}; choose GPUs to see others.`];
    figure.show(titled("Over batch size"), note.filter(Boolean).join(" "), ["GPU", "batch size", "samples/s", "±", "peak GiB", "kind"], rows);
    const sizes = lines.flatMap(([, points]) => points.map((p) => p.bs));
    const names = lines.map(([name]) => name), above = figure.legendHeight(names) + 40, grid = (top) => ({ left: 64, right: 24, top, height: 200 });
    const x = (gridIndex) => axis({ type: "log", logBase: 2, gridIndex, min: Math.min(...sizes), max: Math.max(...sizes), name: gridIndex ? "batch size" : "", nameLocation: "middle", nameGap: 28, minorTick: { show: false } });
    const y = (gridIndex, name) => valueAxis({ gridIndex, name, nameTextStyle: { align: "left", padding: [0, 0, 0, -50], color: look().ink, fontSize: FONT } });
    const line = (name, i, points, field, index) => {
      const { paper } = look(), color = LINES[i % LINES.length], known = points.filter((p) => p[field] !== null && p.order !== OOM);
      const marks = known.map((p) => ({ value: [p.bs, p[field]], point: p, itemStyle: p.order === RESULT ? { color } : { color: paper, borderColor: color, borderWidth: 2 } }));
      return { type: "line", name, xAxisIndex: index, yAxisIndex: index, symbol: "circle", symbolSize: 9, color, lineStyle: { color, width: 2, type: DASHES[Math.floor(i / LINES.length) % 3] }, itemStyle: { color }, data: marks };
    };
    const crosses = (name, i, points) => ({ type: "scatter", name, symbol: CROSS, symbolSize: 11, color: LINES[i % LINES.length], clip: false, data: points.filter((p) => p.order === OOM).map((p) => ({ value: [p.bs, 0], point: p })) });
    const text = ({ seriesName, data: { point: p } }) => [`<b>${escaped(seriesName)}</b>`, `batch size ${number(p.bs)}`, p.throughput !== null && `${number(p.throughput)} ${p.half ? `± ${number(p.half)}` : ""} samples/s`, p.memory !== null && `${number(p.memory)} GiB`, STATUS[p.order]].filter(Boolean).join("<br>");
    figure.draw({
      tooltip: { formatter: text }, legend: { data: names }, grid: [grid(above), grid(above + 256)],
      xAxis: [x(0), x(1)], yAxis: [y(0, "samples/s"), y(1, "peak memory, GiB")],
      series: lines.flatMap(([name, points], i) => [line(name, i, points, "throughput", 0), line(name, i, points, "memory", 1), crosses(name, i, points)]),
    }, above + 516);
  }

  // Cost against speed

  function frontier(rows) {
    // The rows that no other one beats in both speed and cost, the slowest first.
    let least = Infinity;
    return [...rows].sort((a, b) => b.speed - a.speed || a.middle - b.middle).filter((row) => row.middle < least && ((least = row.middle), true)).reverse();
  }

  function drawCost() {
    const rows = chosenCharts().flatMap((c) => barsOf(c, "usd_per_msample").map((bar) => ({ ...bar, precision: c.precision }))), figure = figures.cost;
    if (!rows.length) return void (figure.root.hidden = true);
    const kinds = distinct(rows.map((r) => r.kind)).sort(), best = new Set(kinds.flatMap((kind) => frontier(rows.filter((r) => r.kind === kind))));
    const label = (r) => [nameOf(r), state.precision === "all" && r.precision.toUpperCase()].filter(Boolean).join(" ");
    const table = [...rows].sort((a, b) => a.middle - b.middle).map((r) => [label(r), r.kind, r.middle, r.speed, r.boxes, best.has(r) ? "yes" : "no"]);
    figure.show(titled("Cost against speed"), "A line is the efficient frontier of one kind of price: no other GPU is both faster and cheaper. Spot boxes can be taken away.", ["GPU", "kind of price", "$ per million samples", "samples/s", "boxes", "on the frontier"], table);
    const { ink } = look(), text = ({ data: { row: r } }) => `<b>${escaped(label(r))}</b><br>${escaped(r.kind)}<br>$${number(r.middle)} per million samples<br>${number(r.speed)} samples/s<br>${boxes(r.boxes)}`;
    const width = figure.width(), above = figure.legendHeight(kinds) + 48;
    const series = kinds.flatMap((kind, i) => {
      const color = LINES[i], same = rows.filter((r) => r.kind === kind), place = (r) => ({ value: [r.speed, r.middle], row: r });
      const name = { show: true, position: "top", formatter: (p) => label(p.data.row), color: ink, fontSize: FONT, width: Math.min(200, width / 3), overflow: "truncate" };
      return [
        { type: "scatter", name: kind, color, symbol: SYMBOLS[kind] || "triangle", symbolSize: 12, data: same.map(place), label: name, labelLayout: { hideOverlap: true, moveOverlap: "shiftY" } },
        { type: "line", name: kind, color, symbol: "none", silent: true, lineStyle: { color, width: 2, type: kind === "spot" ? "dashed" : "solid" }, data: frontier(same).map((r) => [r.speed, r.middle]), tooltip: { show: false } },
      ];
    });
    figure.draw({
      tooltip: { formatter: text }, legend: { data: kinds }, grid: { left: 64, right: 40, top: above, bottom: 48 },
      xAxis: valueAxis({ name: "samples/s", nameLocation: "middle", nameGap: 28, min: null, scale: true }), yAxis: valueAxis({ min: null, scale: true, name: "$ per million samples", nameTextStyle: { align: "left", padding: [0, 0, 0, -50], color: ink, fontSize: FONT } }), series,
    }, 420);
  }

  // Batch size and sequence length

  function lengthCharts() {
    const [first] = chosenCharts();
    if (!first || first.seq_len === null) return [];
    const same = data.charts.filter((c) => c.family === first.family && c.mode === first.mode && c.precision === first.precision && pointsOf(c).length);
    return distinct(same.map((c) => c.seq_len)).length > 1 ? same.sort((a, b) => a.seq_len - b.seq_len) : [];
  }

  function drawLengths() {
    const charts = lengthCharts(), figure = figures.lengths, names = distinct(charts.flatMap((c) => pointsOf(c).map(nameOf))).sort(byName);
    if (!charts.length) return void (figure.root.hidden = true);
    if (!names.includes(state.gpu)) state.gpu = "";
    const gpu = state.gpu || names[0];
    figure.select.replaceChildren(...names.map((name) => element("option", { value: name, textContent: name })));
    figure.select.value = gpu;
    const points = charts.flatMap((c) => pointsOf(c).filter((p) => nameOf(p) === gpu).map((p) => ({ ...p, length: c.seq_len })));
    const sizes = distinct(points.map((p) => p.bs)).sort((a, b) => a - b), lengths = distinct(points.map((p) => p.length)).sort((a, b) => a - b);
    figure.show(`Batch size and sequence length, ${charts[0].family}, ${charts[0].precision.toUpperCase()}, ${gpu}`, "Short measurements are included; the table marks them.", ["tokens", "batch size", "samples/s", "peak GiB", "kind"], points.map((p) => [p.length, p.bs, p.throughput ?? "", p.memory ?? "", STATUS[p.order]]));
    const map = (field, index) => {
      const known = points.map((p) => p[field]).filter((v) => v !== null), middle = (Math.min(...known) + Math.max(...known)) / 2;
      const cells = points.filter((p) => p[field] !== null || p.order === OOM).map((p) => ({ value: [sizes.indexOf(p.bs), lengths.indexOf(p.length), p[field] ?? 0], point: p, ...(p.order === OOM ? { visualMap: false, itemStyle: { color: look().paper } } : {}), label: { color: p.order === OOM ? look().ink : p[field] < middle ? "#ffffff" : "#000000" } }));
      const series = { type: "heatmap", xAxisIndex: index, yAxisIndex: index, data: cells, label: { show: true, fontSize: FONT, formatter: ({ data: { point: p } }) => (p.order === OOM ? "no room" : number(p[field])) } };
      const colors = { show: false, seriesIndex: index, min: Math.min(...known), max: Math.max(...known) + 1e-9, dimension: 2, inRange: { color: ["#00204d", "#575d6d", "#a69d75", "#ffea46"] } };
      return [series, colors];
    };
    const [speed, memory] = [map("throughput", 0), map("memory", 1)], height = 40 * lengths.length, grid = (top) => ({ left: 64, right: 16, top, height });
    const x = (gridIndex) => axis({ type: "category", gridIndex, data: sizes.map(number), name: gridIndex ? "batch size" : "", nameLocation: "middle", nameGap: 28, splitLine: { show: false } });
    const y = (gridIndex, name) => axis({ type: "category", gridIndex, data: lengths.map(number), name, nameTextStyle: { align: "left", padding: [0, 0, 0, -50], color: look().ink, fontSize: FONT }, splitLine: { show: false } });
    const text = ({ data: { point: p } }) => `${number(p.length)} tokens, batch size ${number(p.bs)}<br>${p.order === OOM ? "" : `${number(p.throughput)} samples/s<br>${number(p.memory)} GiB<br>`}${STATUS[p.order]}`;
    figure.draw({ tooltip: { formatter: text }, grid: [grid(40), grid(height + 110)], xAxis: [x(0), x(1)], yAxis: [y(0, "tokens in a sample: throughput, samples/s"), y(1, "tokens in a sample: peak memory, GiB")], series: [speed[0], memory[0]], visualMap: [speed[1], memory[1]] }, 2 * height + 170);
  }

  // What fits

  function drawFits() {
    const precision = state.precision === "all" ? usualPrecision(ofModel()) : state.precision;
    const charts = data.charts.filter((c) => c.mode === state.mode && c.precision === precision), figure = figures.fits;
    const rows = charts.flatMap((c) => {
      const known = pointsOf(c).filter((p) => p.memory !== null && p.order !== OOM), fit = known.filter((p) => p.memory <= state.gib);
      const [best] = fit.sort((a, b) => b.bs - a.bs || b.throughput - a.throughput), [next] = known.filter((p) => p.memory > state.gib).sort((a, b) => a.bs - b.bs || a.memory - b.memory);
      return known.length ? [[c.model, best ? best.bs : "none measured", best ? best.memory : "", best ? nameOf(best) : "", next ? `batch size ${number(next.bs)}: ${number(next.memory)} GiB` : "none measured"]] : [];
    });
    if (!rows.length) return void (figure.root.hidden = true);
    figure.show(`What fits into ${state.gib} GiB, ${precision.toUpperCase()}${state.mode === "train" ? "" : `, ${state.mode}`}`, "The largest measured batch size whose steps need no more than this. The context of CUDA and the display come on top.", ["model", "largest batch size", "peak GiB", "measured on", "the next larger one needs"], rows);
  }

  // All together

  function control(figure, label, values, text, chosen, act) {
    const select = element("select");
    setOptions(select, values, text);
    select.value = chosen;
    select.addEventListener("change", () => (act(select.value), update()));
    figure.tools.prepend(element("label", {}, `${label} `, select));
    return select;
  }

  const knownMetrics = () => Object.keys(data.metrics).filter((metric) => data.charts.some((c) => c.bars[metric]));

  function makeFigures() {
    figures = { bars: new Figure("bars", ""), curves: new Figure("curves", ""), cost: new Figure("cost", ""), lengths: new Figure("lengths", ""), fits: new Figure("fits", "") };
    figures.bars.select = control(figures.bars, "Show", knownMetrics(), (metric) => data.metrics[metric], state.show, (v) => (state.show = v));
    figures.lengths.select = control(figures.lengths, "GPU", [], String, "", (v) => (state.gpu = v));
    figures.fits.select = control(figures.fits, "Memory", GIB, (v) => `${v} GiB`, state.gib, (v) => (state.gib = Number(v)));
    figures.fits.plot.remove();
    figures.fits.table.open = true;
    figures.fits.table.replaceWith(figures.fits.rows); // the table is all that there is
    figures.fits.tools.querySelectorAll("button").forEach((button) => button.remove());
  }

  function drawAll() {
    setOptions(figures.bars.select, knownMetrics(), (metric) => data.metrics[metric]);
    figures.bars.select.value = state.show;
    figures.fits.select.value = state.gib;
    const box = document.getElementById("cards"), cards = CARDS.map(card), markup = (all) => Array.from(all, (one) => one.outerHTML).join("");
    if (markup(cards) !== markup(box.children)) box.replaceChildren(...cards); // a screen reader reads what changes
    drawBars();
    for (const draw of [drawCurves, drawCost, drawLengths, drawFits]) draw();
  }

  function update(kept) {
    fillSelects();
    fillGpus();
    resetLegend(kept);
    drawAll();
    writeAddress();
  }

  function listen() {
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("change", (event) => {
      if (event.target.type === "checkbox") {
        const boxes = [...gpuBox.querySelectorAll("input")], chosen = boxes.filter((box) => box.checked).map((box) => box.value);
        state.gpus = chosen.length === boxes.length ? null : new Set(chosen);
      } else state[event.target.name] = event.target.value;
      update();
    });
    for (const button of gpuBox.querySelectorAll("button")) button.addEventListener("click", () => ((state.gpus = button.value === "all" ? null : new Set()), update()));
    gpuBox.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      gpuBox.open = false;
      gpuBox.querySelector("summary").focus();
    });
    document.addEventListener("click", (event) => { if (!gpuBox.contains(event.target)) gpuBox.open = false; });
    addEventListener("hashchange", () => { if (location.hash.includes("=")) (readAddress(), update()); });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
    addEventListener("beforeprint", () => { printing = true; drawAll(); });
    addEventListener("afterprint", () => { printing = false; drawAll(); });
    let width = app.clientWidth;
    new ResizeObserver(() => {
      if (printing || app.clientWidth === width) return;
      width = app.clientWidth;
      drawAll();
    }).observe(app);
  }

  function show() {
    // Draws the data that are in the page now; a live page replaces them, and the choice stays.
    const found = JSON.parse(document.getElementById("rsg-data").textContent || "null"), shown = figures && new Set(barRows(state.show).map((row) => row.series));
    app.hidden = !found || !found.charts.length;
    if (app.hidden) return;
    data = found;
    if (!figures) (makeFigures(), readAddress(), listen());
    update(shown);
  }

  show();
  addEventListener("rsg-data", show);
})();
