// What the report's figures are made of: elements, numbers in words, pictures, files to save.
// Stands before page.js in the one script of the page, and draws only what it is given.
"use strict";

// Attributes for figures on paper. On the screen page.css overrides them, so it may be dark there.
const INK = "#1d2329", QUIET = "#59636e", GAIN = "#4393c3", LOSS = "#e08214", GROUND = "#ffffff";
const FONT = { "font-family": "system-ui, sans-serif", "font-size": 12 };
const PALE = { fill: QUIET, class: "quiet", "font-size": 11 };
// Room for a letter of that size, bold and in a wide typeface.
const LETTER = 7.8;
// Okabe and Ito's colours without yellow, which is too pale for a line.
const LINES = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"];

// --- elements ---------------------------------------------------------------------------------

function fill(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function element(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function words(x, y, text, attributes = {}) {
  return draw("text", { x, y, fill: INK, class: "ink", ...attributes }, text);
}

function stroke(x1, y1, x2, y2, kind = "rule") {
  const colour = kind === "rule" ? "#d0d7de" : QUIET;
  return draw("line", { x1, y1, x2, y2, stroke: colour, class: kind });
}

function picture(width, height, label, ...children) {
  const title = draw("title", {}, label);
  return draw("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img",
    "aria-label": label, ...FONT }, title, ...children);
}

function button(label, act, attributes = {}) {
  const made = element("button", { type: "button", ...attributes }, label);
  made.addEventListener("click", act);
  return made;
}

function choice(label, options, chosen, act) {
  const select = element("select");
  for (const [value, text] of options) select.append(element("option", { value }, text));
  select.value = chosen;
  select.addEventListener("change", () => act(select.value));
  return element("label", {}, element("span", {}, label), select);
}

function checkbox(label, checked, act) {
  const box = element("input", { type: "checkbox" });
  box.checked = checked;
  box.addEventListener("change", () => act(box.checked));
  return element("label", { class: "check" }, box, element("span", {}, label));
}

// --- numbers ----------------------------------------------------------------------------------

const known = (value) => value !== null && value !== undefined;

// In points, as Python rounds: an exact tie goes to the even digit, so that a number reads the
// same here and in the tables beside.
function points(value) {
  if (!known(value)) return "–";
  const x = 100 * value;
  const tie = Number.isInteger(x * 4) && !Number.isInteger(x * 2);
  return (tie ? Math.round(x * 5) / 5 : x).toFixed(1).replace(/^-0\.0$/, "0.0").replace("-", "−");
}

function signed(value) {
  const text = points(value);
  return value > 0 && text !== "0.0" ? `+${text}` : text;
}

function probability(value) {
  if (!known(value)) return "not known";
  return value < 0.001 ? "< 0.001" : value.toFixed(3);
}

function mean(values) {
  return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
}

function extent(values) {
  return values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [0, 0]);
}

function ticks(low, high, count) {
  const rough = (high - low) / count || 1;
  const ten = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((part) => part * ten).find((size) => size >= rough);
  const first = Math.ceil(low / step);
  const length = Math.floor(high / step) - first + 1;
  return Array.from({ length }, (_, i) => Number(((first + i) * step).toPrecision(6)));
}

function between(low, high, start, end) {
  return (value) => start + ((value - low) / (high - low || 1)) * (end - start);
}

// --- gains as dots with whiskers --------------------------------------------------------------

// `rows` are objects with label, gain, low, high, text, kinds and title; null gains have no dot.
function forest(rows, label, width) {
  const names = Math.min(0.38 * width, LETTER * Math.max(...rows.map((row) => row.label.length)));
  const ends = rows.flatMap((row) => [row.low, row.high, row.gain]).filter(known);
  const [low, high] = extent([...ends, -0.02, 0.02]);
  const x = between(low, high, names + 10, width - 66);
  const height = 22 * rows.length + 40;
  const told = (tick) => String(Math.round(1000 * tick) / 10).replace("-", "−");
  const axis = ticks(low, high, width < 480 ? 4 : 7).flatMap((tick) => [
    stroke(x(tick), 8, x(tick), height - 30, tick === 0 ? "zero" : "rule"),
    words(x(tick), height - 14, told(tick), { "text-anchor": "middle", ...PALE })]);
  const unit = { "text-anchor": "end", ...PALE };
  return picture(width, height, label, ...axis, words(width, height - 14, "points", unit),
    ...rows.map((row, i) => whisker(row, { y: 22 * i + 20, x, names, width })));
}

function whisker(row, { y, x, names, width }) {
  const short = clipped(row.label, names);
  const sure = row.kinds.includes("sure");
  const weight = { "font-weight": sure ? 600 : 400 };
  const parts = [draw("title", {}, row.title),
    words(names, y + 4, short, { "text-anchor": "end", ...weight }),
    words(width, y + 4, row.text, { "text-anchor": "end", ...weight, ...(sure ? {} : PALE) })];
  if (!known(row.gain)) return draw("g", {}, ...parts);
  const colour = row.gain < 0 ? LOSS : GAIN, kind = row.gain < 0 ? "loss" : "gain";
  if (known(row.low) && known(row.high)) parts.push(draw("line", { x1: x(row.low), x2: x(row.high),
    y1: y, y2: y, stroke: colour, "stroke-width": sure ? 2.5 : 1, class: kind }));
  parts.push(draw("circle", { cx: x(row.gain), cy: y, r: 4.5, stroke: colour, "stroke-width": 1.5,
    fill: sure ? colour : GROUND, class: `${kind} ${sure ? "sure" : "unsure"}` }));
  return draw("g", {}, ...parts);
}

function clipped(text, width) {
  const most = Math.floor(width / LETTER + 0.01);
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

// --- loss curves ------------------------------------------------------------------------------

// `panels` are objects with name and curves (losses, every, recipe, seed), one panel a source.
function lossPanels(panels, recipes, { width, shared }) {
  const across = Math.max(1, Math.floor(width / 250));
  const size = { width: width / across, height: 190 };
  const highest = (curves) => extent(curves.flatMap((curve) => curve.losses))[1];
  const all = highest(panels.flatMap((panel) => panel.curves));
  const top = recipes.length > 1 ? 24 : 0;
  const drawn = panels.map((panel, i) => {
    const [x, y] = [(i % across) * size.width, top + Math.floor(i / across) * size.height];
    const range = shared ? all : highest(panel.curves);
    return draw("g", { transform: `translate(${x} ${y})` },
      ...lossPanel(panel, recipes, size, range));
  });
  const height = top + size.height * Math.ceil(panels.length / across);
  return picture(width, height, "Training loss by step, one panel for every source",
    ...(top ? recipes.map((recipe, i) => legendLine(recipe, i, width / recipes.length)) : []),
    ...drawn);
}

function legendLine(recipe, i, room) {
  const line = draw("line", { x1: i * room, x2: i * room + 22, y1: 10, y2: 10, "stroke-width": 2,
    stroke: LINES[i % LINES.length] });
  return draw("g", {}, line, words(i * room + 28, 14, clipped(recipe, room - 28)));
}

function lossPanel({ name, curves }, recipes, size, highest) {
  const steps = Math.max(...curves.map((curve) => curve.losses.length * (curve.every ?? 1)));
  const x = between(1, steps, 40, size.width - 14), y = between(0, highest, size.height - 42, 26);
  const middle = { ...PALE, "text-anchor": "middle" };
  const turned = `translate(10 ${(size.height - 16) / 2}) rotate(-90)`;
  const colour = (curve) => LINES[recipes.indexOf(curve.recipe) % LINES.length];
  return [
    draw("title", {}, `${name}: ${curves.map((c) => `${c.recipe}, seed ${c.seed}`).join("; ")}`),
    words(40, 14, clipped(name, size.width - 54), { "font-weight": 600 }),
    ...ticks(0, highest, 4).flatMap((tick) => [
      stroke(40, y(tick), size.width - 14, y(tick)),
      words(34, y(tick) + 4, tick, { ...PALE, "text-anchor": "end" })]),
    ...ticks(1, steps, 3).map((tick) => words(x(tick), size.height - 26, tick, middle)),
    words((26 + size.width) / 2, size.height - 11, "step", middle),
    words(0, 0, "loss, nats a token", { ...middle, transform: turned }),
    ...curves.flatMap((curve) => lossLines(curve, colour(curve), x, y)),
  ];
}

// Every step faintly, and a moving average over a twentieth of the steps (at least five) on top.
function lossLines({ losses, every = 1 }, stroke, x, y) {
  const half = Math.max(2, Math.round(losses.length / 40));
  const line = (values, width, opacity) => draw("polyline", { fill: "none", stroke,
    "stroke-width": width, "stroke-opacity": opacity, "stroke-linejoin": "round",
    points: values.map((v, i) => `${x(1 + i * every).toFixed(1)},${y(v).toFixed(1)}`).join(" ") });
  return [line(losses, 1, 0.35), line(smoothed(losses, half), 2, 1)];
}

// Means over a window of 2·half + 1 steps, cut off at the ends; one pass over running sums.
function smoothed(values, half) {
  const sums = [0];
  for (const value of values) sums.push(sums.at(-1) + value);
  return values.map((_, i) => {
    const start = Math.max(0, i - half), end = Math.min(values.length, i + half + 1);
    return (sums[end] - sums[start]) / (end - start);
  });
}

// --- the matrix as a picture ------------------------------------------------------------------

// `rows` and `columns` are names; `looks` has one array of looks for every row.
function heatmap({ rows, columns, looks, label, notes }) {
  const room = (names) => LETTER * Math.max(0, ...names.map((name) => name.length));
  const [w, h] = [80, 26];
  const left = room(rows) + 12, top = 0.7 * room(columns) + 52, below = top + h * rows.length;
  const slanted = left + w * columns.length + 0.7 * room(columns.slice(-2));
  const heads = columns.map((name, c) => words(0, 0, name,
    { transform: `translate(${left + w * (c + 0.5)} ${top - 8}) rotate(-45)` }));
  const names = rows.map((name, r) =>
    words(left - 8, top + h * r + 17, name, { "text-anchor": "end" }));
  const boxes = looks.flatMap((row, r) =>
    row.map((seen, c) => heatmapCell(seen, left + w * c, top + h * r, [w, h])));
  return picture(Math.ceil(Math.max(slanted, room([label, ...notes]) + 16)),
    Math.ceil(below + 30 + 18 * notes.length), label, hatching(),
    draw("rect", { width: "100%", height: "100%", fill: GROUND }),
    words(8, 18, label, { "font-weight": 600 }), ...heads, ...names, ...boxes,
    ...notes.map((note, i) => words(8, below + 28 + 18 * i, note, { fill: QUIET })));
}

function hatching() {
  const size = { width: 6, height: 6, patternUnits: "userSpaceOnUse" };
  return draw("pattern", { id: "hatch", ...size, patternTransform: "rotate(45)" },
    draw("line", { y2: 6, stroke: "#b8c0c8", "stroke-width": 2 }));
}

function heatmapCell({ number, stars, marks, strength, kinds }, x, y, [width, height]) {
  const is = (kind) => kinds.includes(kind);
  const unknown = is("missing") || is("failed");
  const fill = unknown ? "url(#hatch)" : is("loss") ? LOSS : GAIN;
  const box = draw("rect", { x, y, width, height, fill, "fill-opacity": unknown ? 1 : strength,
    stroke: GROUND, class: "cell" });
  const inside = { x: x + 2, y: y + 2, width: width - 4, height: height - 4 };
  const frame = { ...inside, fill: "none", stroke: INK };
  const weight = { "font-weight": is("sure") ? 600 : 300 };
  const text = unknown ? words(x + width / 2, y + 17, number, { "text-anchor": "middle" })
    : words(x + 55, y + 17, number, { "text-anchor": "end", ...weight });
  return draw("g", {}, box,
    ...(is("same-task") ? [draw("rect", { ...frame, "stroke-width": 1.5 })] : []),
    ...(is("in-domain") ? [draw("rect", { ...frame, "stroke-dasharray": "6 3" })] : []),
    ...(is("out-of-domain") ? [draw("rect", { ...frame, "stroke-dasharray": "1 3" })] : []), text,
    words(x + 56, y + 17, number && stars, weight),
    words(x + 5, y + 11, marks, { "font-size": 8 }));
}

// --- files to save ----------------------------------------------------------------------------

function save(name, content) {
  const url = URL.createObjectURL(content);
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

// XML forbids some characters that a name may hold.
function svgFile(svg) {
  const forbidden = /[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu;
  const text = new XMLSerializer().serializeToString(svg).replace(forbidden, "\ufffd");
  return new Blob([text], { type: "image/svg+xml" });
}

function csvFile(head, rows) {
  const field = (value) => {
    const text = known(value) ? String(value) : "";
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const lines = [head, ...rows].map((row) => row.map(field).join(","));
  return new Blob([`${lines.join("\r\n")}\r\n`], { type: "text/csv" });
}

// A cell that is shortened has the whole in its title.
function tableFile(table) {
  const [head, ...rows] = Array.from(table.rows, (row) => Array.from(row.cells, (cell) =>
    cell.querySelector("[title]")?.title ?? cell.textContent.replace(/^–$/, "")));
  return csvFile(head, rows);
}

// Twice the size, less where a browser's canvas ends.
async function pngFile(svg) {
  const image = new Image();
  const url = URL.createObjectURL(svgFile(svg));
  image.src = url;
  await image.decode();
  URL.revokeObjectURL(url);
  const scale = Math.min(2, 8000 / image.width, 8000 / image.height);
  const canvas = element("canvas", { width: Math.round(scale * image.width),
    height: Math.round(scale * image.height) });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}
