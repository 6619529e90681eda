// Figures of what analyses found: how arms score, and how scores grow with training examples.
// Stands in the page's script after matrix.js and before page.js.
"use strict";

const SHAPES = ["circle", "diamond", "square", "triangle"];
const DASHES = ["none", "7 3", "2 3", "7 3 2 3"];

const distinct = (values) => [...new Set(values)];

function grouped(rows, name) {
  return distinct(rows.map(name)).map((key) => [key, rows.filter((row) => name(row) === key)]);
}

// One of four shapes, so that colour is never alone.
function mark(shape, x, y, attributes) {
  const corners = { diamond: "0,-6 6,0 0,6 -6,0", square: "-4,-4 4,-4 4,4 -4,4",
    triangle: "0,-5.5 5.5,4 -5.5,4" };
  const placed = { transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})`, ...attributes };
  return corners[shape] ? draw("polygon", { points: corners[shape], ...placed })
    : draw("circle", { r: 4.5, ...placed });
}

const isBase = (row) => row.recipe === "base";
const armOf = (row) => [row.recipe, row.condition, row.way].filter(known).join(" · ");
const settingOf = (row) => row.setting ?? "";

// Ends of a row's interval on the axis of scores; that of a gain is moved to the score.
function interval(row) {
  if (!known(row.low) || !known(row.high)) return null;
  const from = known(row.gain) ? row.score - row.gain : 0;
  return [from + row.low, from + row.high];
}

function scoreText(row) {
  const ends = interval(row);
  const sure = ends ? `, 95 % interval ${points(ends[0])} to ${points(ends[1])}` : "";
  return points(row.score) + sure;
}

function scoreRange(rows) {
  return extent(rows.flatMap((row) => [row.score, ...(interval(row) ?? [])]).filter(known));
}

// --- arms -------------------------------------------------------------------------------------

// Arms of a family and setting that are scored in different ways say so.
function withWays(rows) {
  return grouped(rows, (row) => `${row.family} ${row.setting}`).flatMap(([, arms]) =>
    arms.map((row) => (distinct(arms.map((arm) => arm.scoring)).length > 1
      ? { ...row, way: row.scoring } : row)));
}

// One panel a setting, in it one block a family, in it one line an arm.
function armPanels(table, label, width) {
  const rows = withWays(table);
  const settings = grouped(rows, settingOf).sort(([a], [b]) =>
    RELATIONS.indexOf(a) - RELATIONS.indexOf(b));
  const across = Math.max(1, Math.min(settings.length, Math.floor(width / 300)));
  const shared = { width: width / across, range: scoreRange(rows), top: 0,
    colours: distinct(rows.filter((row) => !isBase(row)).map((row) => row.recipe)) };
  let below = 26;
  const panels = [];
  for (let first = 0; first < settings.length; first += across) {
    const line = settings.slice(first, first + across).map((panel) => armPanel(panel, shared));
    panels.push(...line.map(({ parts }, i) =>
      draw("g", { transform: `translate(${i * shared.width} ${below})` }, ...parts)));
    below += Math.max(...line.map(({ height }) => height));
  }
  return picture(width, below, label, ...armLegend(), ...panels);
}

function armLegend() {
  const ink = { fill: INK, class: "ink" };
  return [mark("diamond", 8, 12, ink), words(20, 16, "base"), mark("circle", 72, 12, ink),
    words(84, 16, "tuned"), stroke(138, 12, 164, 12, "zero"), words(170, 16, "95 % interval")];
}

function armPanel([setting, rows], { width, range, colours }) {
  const lines = grouped(rows, (row) => row.family ?? "").flatMap(([family, arms]) =>
    [...(family ? [{ head: family }] : []), ...arms]);
  const names = Math.min(0.45 * width, LETTER * Math.max(...rows.map((row) => armOf(row).length)));
  const x = between(...range, names + 10, width - 52);
  const height = 20 * lines.length + 66;
  const axis = ticks(...range, 5).flatMap((tick) => [
    stroke(x(tick), 24, x(tick), height - 38, tick === 0 ? "zero" : "rule"),
    words(x(tick), height - 22, points(tick).replace(".0", ""),
      { "text-anchor": "middle", ...PALE })]);
  const parts = lines.map((row, i) => row.head
    ? words(0, 20 * i + 40, clipped(row.head, width), { "font-weight": 600 })
    : armLine(row, { y: 20 * i + 36, x, names, width, colours }));
  return { height, parts: [words(0, 14, setting, { "font-weight": 600, "font-size": 14 }), ...axis,
    ...parts] };
}

function armLine(row, { y, x, names, width, colours }) {
  const arm = armOf(row);
  const colour = isBase(row) ? QUIET : LINES[colours.indexOf(row.recipe) % LINES.length];
  const parts = [draw("title", {}, `${row.family ?? ""} ${settingOf(row)}, ${arm}: ${scoreText(row)}`),
    words(names, y + 4, clipped(arm, names), { "text-anchor": "end" }),
    words(width - 12, y + 4, points(row.score), { "text-anchor": "end", ...PALE })];
  const ends = interval(row);
  if (ends) parts.push(draw("line", { x1: x(ends[0]), x2: x(ends[1]), y1: y, y2: y, stroke: colour,
    "stroke-width": 2 }));
  if (known(row.score)) parts.push(mark(isBase(row) ? "diamond" : "circle", x(row.score), y,
    { fill: colour, class: isBase(row) ? "base" : "tuned" }));
  return draw("g", { class: "arm" }, ...parts);
}

// --- sizes ------------------------------------------------------------------------------------

// One panel a family and setting, in it one line for each series of recipes and condition.
function sizePanels(table, label, width) {
  const several = distinct(table.map((row) => row.series)).length > 1;
  const rows = table.map((row) => ({ ...row,
    line: [several && row.series, row.condition].filter(Boolean).join(" · ") }));
  const panels = grouped(rows, (row) => [row.family, settingOf(row)].filter(Boolean).join(", "));
  const series = distinct(rows.map((row) => row.line));
  const across = Math.max(1, Math.floor(width / 280));
  const size = { width: width / across, height: 210 };
  const room = LETTER * Math.max(...series.map((name) => name.length)) + 60;
  const perLine = Math.max(1, Math.floor(width / room));
  const top = 20 * Math.ceil(series.length / perLine) + 8;
  const legend = series.map((name, i) => draw("g",
    { transform: `translate(${(i % perLine) * room} ${20 * Math.floor(i / perLine) + 10})` },
    ...sizeLine([[6, 0], [36, 0]], i), words(46, 4, clipped(name, width - 48))));
  const shared = { ...size, series, range: scoreRange(rows),
    sizes: distinct(rows.map((row) => row.training_examples)).sort((a, b) => a - b) };
  const drawn = panels.map(([name, members], i) => draw("g", { transform:
    `translate(${(i % across) * size.width} ${top + Math.floor(i / across) * size.height})` },
  ...sizePanel(name, members, shared)));
  const height = top + size.height * Math.ceil(panels.length / across);
  return picture(width, height, label, ...legend, ...drawn);
}

function sizePanel(name, rows, { width, height, series, range, sizes }) {
  const log = between(Math.log(sizes[0]), Math.log(sizes.at(-1)), 46, width - 26);
  const x = (examples) => log(Math.log(examples)), y = between(...range, height - 44, 28);
  const middle = { ...PALE, "text-anchor": "middle" };
  const apart = sizes.filter((n, i) => !i || x(n) - x(sizes[i - 1]) > 34);
  return [words(40, 14, clipped(name, width - 54), { "font-weight": 600 }),
    ...ticks(...range, 5).flatMap((tick) => [stroke(40, y(tick), width - 14, y(tick)),
      words(34, y(tick) + 4, points(tick).replace(".0", ""), { ...PALE, "text-anchor": "end" })]),
    ...apart.map((n) => words(x(n), height - 28, n.toLocaleString("en"), middle)),
    words((26 + width) / 2, height - 12, "training examples (log)", middle),
    ...series.flatMap((key, i) => sizeSeries(rows.filter((row) => row.line === key), i, x, y))];
}

function sizeSeries(rows, number, x, y) {
  const there = sorted(rows.filter((row) => known(row.score)), (row) => row.training_examples, false);
  if (!there.length) return [];
  const whiskers = there.filter(interval).map((row) => draw("line", { x1: x(row.training_examples),
    x2: x(row.training_examples), y1: y(interval(row)[0]), y2: y(interval(row)[1]), class: "whisker",
    stroke: LINES[number % LINES.length] }));
  const told = there.map((row) => `${row.training_examples}: ${scoreText(row)}`).join("; ");
  const line = sizeLine(there.map((row) => [x(row.training_examples), y(row.score)]), number);
  return [draw("g", { class: "size" }, draw("title", {}, `${there[0].line}: ${told}`),
    ...whiskers, ...line)];
}

function sizeLine(places, number) {
  const colour = LINES[number % LINES.length];
  const way = { "stroke-dasharray": DASHES[number % DASHES.length], stroke: colour };
  const path = places.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");
  return [draw("polyline", { points: path, fill: "none", "stroke-width": 2, ...way }),
    ...places.map(([x, y]) => mark(SHAPES[number % SHAPES.length], x, y, { fill: colour }))];
}

// --- the sections -----------------------------------------------------------------------------

const DRAWN = {
  arms: [armPanels, ["recipe", "score"], "Scores of the arms"],
  sizes: [sizePanels, ["training_examples", "score"], "Scores by training examples"],
};

// A table that lacks what its figure needs has none.
function refreshAnalyses() {
  for (const host of document.querySelectorAll("[data-analysis]")) {
    const width = Math.max(280, Math.min(1100, host.clientWidth));
    host.replaceChildren(...Object.entries(analyses[host.dataset.analysis]).flatMap(([name, rows]) => {
      const [panels, needed, label] = DRAWN[name];
      if (!needed.every((column) => column in rows[0])) return [];
      const figure = panels(rows, label, width);
      const csv = () => csvFile(Object.keys(rows[0]), rows.map(Object.values));
      const around = "Lines: 95 % interval of the gain over the base in the same condition, "
        + "drawn around the score.";
      const caption = element("figcaption", { class: "quiet" },
        rows.some((row) => known(row.gain)) ? around : "Lines: 95 % interval of the score.");
      return [element("h3", {}, label), element("figure", {}, figure, caption),
        fileButtons(label, { svg: () => svgFile(figure), csv })];
    }));
  }
}
