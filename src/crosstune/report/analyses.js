// Figures of what analyses found, drawn from the columns of their tables: dots, grids, points,
// curves and trees. Stands in the page's script after matrix.js and before page.js.
"use strict";

const SHAPES = ["circle", "diamond", "square", "triangle"];
const DASHES = ["none", "7 3", "2 3", "7 3 2 3"];
const CROWDED = 12;  // more marks on a line, or columns on a scale, than this hide each other
const TALL = 25;  // more lines than this, and the scale stands above them too
const SMALL = 6.6;  // room for a letter of a pale text
const LEFT = 58;  // room for an upright scale and its name
const MIDDLE = { ...PALE, "text-anchor": "middle" };
const END = { ...PALE, "text-anchor": "end" };

const distinct = (values) => [...new Set(values)];
const longest = (texts) => Math.max(0, ...texts.map((text) => text.length));
const clamped = (value, low, high) => Math.max(low, Math.min(high, value));

function grouped(rows, name) {
  const found = new Map();
  for (const row of rows) found.set(name(row), [...(found.get(name(row)) ?? []), row]);
  return [...found];
}

function told(value, unit) {
  if (!known(value)) return "–";
  if (unit === "points") return points(value);
  if (unit === "probability") return probability(value);
  if (typeof value !== "number") return String(value);
  const digits = Number.isInteger(value) ? {}
    : Math.abs(value) < 1000 ? { maximumSignificantDigits: 3 } : { maximumFractionDigits: 0 };
  return value.toLocaleString("en", digits).replace("-", "−");
}

const tick = (value, unit) => told(value, unit).replace(/\.0$/, "");

function heading({ columns, units }, word) {
  const name = columns[word].join(" · ").replaceAll("_", " ");
  return units[word] === "points" ? `${name} ×100` : name;
}

function toldWhole(row, word, { units }) {
  const sure = known(row.low) && known(row.high)
    ? ` (${told(row.low, units[word])} to ${told(row.high, units[word])})` : "";
  return told(row[word], units[word]) + sure;
}

// The rows of a figure by its words; several columns of one word are joined.
function seen({ columns, table }, tables) {
  const from = tables[table];
  return Object.values(from)[0].map((_, i) => Object.fromEntries(Object.entries(columns).map(
    ([word, names]) => [word, names.length === 1 ? from[names[0]][i]
      : names.map((name) => from[name][i]).filter(known).join(" · ") || null])));
}

// --- colour and shape, so that colour is never alone ------------------------------------------

function styled(number) {
  const form = (number + Math.floor(number / 12)) % 4;
  return { colour: LINES[number % LINES.length], shape: SHAPES[form], dash: DASHES[form] };
}

function mark(number, x, y) {
  const { colour, shape } = styled(number);
  const corners = { diamond: "0,-6 6,0 0,6 -6,0", square: "-4,-4 4,-4 4,4 -4,4",
    triangle: "0,-5.5 5.5,4 -5.5,4" };
  const placed = { transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})`, fill: colour,
    class: "mark" };
  return corners[shape] ? draw("polygon", { points: corners[shape], ...placed })
    : draw("circle", { r: 4.5, ...placed });
}

function line(places, number, marked) {
  const { colour, dash } = styled(number);
  const path = places.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");
  return [draw("polyline", { points: path, fill: "none", "stroke-width": 2, stroke: colour,
    "stroke-dasharray": dash }), ...(marked ? places.map(([x, y]) => mark(number, x, y)) : [])];
}

const seriesOf = (rows) => distinct(rows.map((row) => row.series).filter(known));

// Names of the series in lines, each after its sign; none where there is one.
function key(series, width, sign, room) {
  if (series.length < 2) return { top: 0, parts: [] };
  const each = Math.min(width, LETTER * longest(series.map(String)) + room + 16);
  const across = Math.max(1, Math.floor(width / each));
  const parts = series.map((name, i) => draw("g", { class: "key", transform:
    `translate(${(i % across) * each} ${20 * Math.floor(i / across) + 10})` },
  ...sign(i), words(room, 4, clipped(String(name), width - room))));
  return { top: 20 * Math.ceil(series.length / across) + 10, parts };
}

// --- panels -----------------------------------------------------------------------------------

// `drawing` gives height and parts of one panel; as many stand side by side as there is room for.
function panelled({ title }, rows, { width, least, legend = { top: 0, parts: [] } }, drawing) {
  const panels = grouped(rows, (row) => row.panel);
  const across = clamped(Math.floor(width / least), 1, panels.length);
  let top = legend.top, widest = width;
  const drawn = [];
  for (let first = 0; first < panels.length; first += across) {
    const row = panels.slice(first, first + across).map(([name, members]) => {
      const made = drawing(members, width / across);
      const head = known(name) ? [draw("g", {}, draw("title", {}, String(name)),
        words(0, 14, clipped(String(name), (0.9 * width) / across - 8),
          { "font-weight": 600, "font-size": 13, class: "ink panel" }))] : [];
      return { ...made, head, above: 22 * head.length };
    });
    drawn.push(...row.map(({ parts, head, above }, i) => draw("g", { class: "panel", transform:
      `translate(${(i * width) / across} ${top})` }, ...head,
    draw("g", { transform: `translate(0 ${above})` }, ...parts))));
    top += Math.max(...row.map(({ height, above }) => height + above));
    widest = Math.max(widest, ...row.map((panel) => panel.width ?? 0));
  }
  return picture(Math.ceil(widest), Math.ceil(top), title, ...legend.parts, ...drawn);
}

// A scale across: rules from `top` to `bottom`, numbers below, and above where there is room.
function scale(at, [low, high], unit, { top, bottom, count }) {
  return ticks(low, high, count).flatMap((value) => [
    stroke(at(value), top, at(value), bottom, value === 0 ? "zero" : "rule"),
    words(at(value), bottom + 16, tick(value, unit), MIDDLE),
    ...(top > 12 ? [words(at(value), top - 6, tick(value, unit), MIDDLE)] : [])]);
}

// A scale upwards with its name.
function upright(at, [low, high], figure, { left, right, height }) {
  const turned = `translate(11 ${height / 2}) rotate(-90)`;
  return [words(0, 0, clipped(heading(figure, "y"), height), { ...MIDDLE, transform: turned }),
    ...ticks(low, high, 5).flatMap((value) => [
      stroke(left, at(value), right, at(value), value === 0 ? "zero" : "rule"),
      words(left - 6, at(value) + 4, tick(value, figure.units.y), END)])];
}

// --- dots: a value with its interval for every name -------------------------------------------

function dots(figure, rows, width) {
  const series = seriesOf(rows);
  const range = extent(rows.flatMap((row) => [row.value, row.low, row.high]).filter(known));
  const legend = key(series, width, (i) => [mark(i, 8, 0)], 20);
  const needed = LETTER * longest(rows.map((row) => String(row.name)));
  const least = clamped(needed + 170, 310, width);
  return panelled(figure, rows, { width, least, legend }, (members, room) => {
    const lines = grouped(members, (row) => row.group).flatMap(([head, own]) =>
      [...(known(head) ? [{ head: String(head) }] : []), ...own]);
    const names = Math.min(0.5 * room, needed), top = lines.length > TALL ? 18 : 2;
    const x = between(...range, names + 12, room - 60), bottom = top + 20 * lines.length + 4;
    const parts = lines.map((row, i) => row.head
      ? words(0, top + 20 * i + 18, clipped(row.head, room), { "font-weight": 600, class: "ink group" })
      : dot(row, figure, { y: top + 20 * i + 14, x, names, room, number: series.indexOf(row.series) }));
    const label = words((names + room - 48) / 2, bottom + 32, heading(figure, "value"), MIDDLE);
    return { height: bottom + 52, parts: [...scale(x, range, figure.units.value,
      { top, bottom, count: (room - names) / 55 }), label, ...parts] };
  });
}

function dot(row, figure, { y, x, names, room, number }) {
  const named = [row.panel, row.group, row.name].filter(known).join(", ");
  const style = Math.max(0, number);
  const parts = [draw("title", {}, `${named}: ${toldWhole(row, "value", figure)}`),
    words(names, y + 4, clipped(String(row.name ?? "–"), names), { "text-anchor": "end" }),
    words(room - 12, y + 4, told(row.value, figure.units.value), END)];
  if (known(row.low) && known(row.high)) parts.push(draw("line", { x1: x(row.low), x2: x(row.high),
    y1: y, y2: y, stroke: styled(style).colour, "stroke-width": 2 }));
  if (known(row.value)) parts.push(mark(style, x(row.value), y));
  return draw("g", { class: "dot" }, ...parts);
}

// --- grid: a value at every row and column ----------------------------------------------------

function gridPicture(figure, rows, width) {
  const unit = figure.units.value, values = rows.map((row) => row.value).filter(known);
  const sizes = values.map(Math.abs).sort((a, b) => a - b);
  const most = sizes[Math.ceil(0.95 * sizes.length) - 1] || 1;
  const text = (value) => (unit || !known(value) || most < 0.05 ? told(value, unit)
    : value.toFixed(most < 100 ? 2 : 0).replace("-", "−"));
  const number = SMALL * longest(values.map(text)) + 8;
  const names = (word) => distinct(rows.map((row) => String(row[word] ?? "–")));
  const left = Math.min(0.35 * width, LETTER * longest(names("row"))) + 10;
  const head = 0.7 * SMALL * Math.min(24, longest(names("column"))) + 16;
  const columns = Math.max(...grouped(rows, (row) => row.panel).map(([, members]) =>
    distinct(members.map((row) => row.column)).length));
  const beside = left + head;
  const least = beside + columns * clamped(number, 16, 64);
  const across = Math.max(1, Math.floor(width / least));
  const cell = clamped((width / across - beside) / columns, 16, 64);
  const shared = { text, most, left, head, cell, fits: cell >= number,
    order: { row: names("row"), column: names("column") }, negative: values.some((value) => value < 0) };
  const drawing = (members) => gridPanel(members, shared);
  return panelled(figure, rows, { width, least, legend: gridKey(shared) }, drawing);
}

function gridKey({ most, text, negative }) {
  const swatch = (x, kind) => draw("rect", { x, y: 2, width: 14, height: 14, class: kind,
    fill: kind === "below" ? LOSS : GAIN });
  const full = text(most);
  const below = negative ? [swatch(84, "below"), words(104, 14, `− below 0; full at ±${full}`)]
    : [words(84, 14, `full at ${full}`)];
  return { top: 30, parts: [swatch(0, "above"), words(20, 14, "above 0"), ...below] };
}

function gridPanel(members, { left, head, cell, order, ...look }) {
  const [rows, columns] = ["row", "column"].map((word) => {
    const own = new Set(members.map((row) => String(row[word] ?? "–")));
    return order[word].filter((name) => own.has(name));  // the same order in every panel
  });
  const at = { rows: new Map(rows.map((name, i) => [name, i])),
    columns: new Map(columns.map((name, i) => [name, i])) };
  const heads = columns.map((name, c) => words(0, 0, clipped(name, 24 * LETTER),
    { transform: `translate(${left + cell * (c + 0.5) + 3} ${head - 5}) rotate(-45)`,
      class: "ink", "font-size": 11 }));
  const names = rows.map((name, r) => words(left - 8, head + 22 * r + 15, clipped(name, left - 10),
    { "text-anchor": "end" }));
  const boxes = members.map((row) => gridCell(row, look, { width: cell, y: head
    + 22 * at.rows.get(String(row.row ?? "–")),
  x: left + cell * at.columns.get(String(row.column ?? "–")) }));
  return { width: left + cell * columns.length + head, height: head + 22 * rows.length + 16,
    parts: [...heads, ...names, ...boxes] };
}

function gridCell({ row, column, panel, value }, { text, most, fits, negative }, { x, y, width }) {
  const sign = !known(value) ? "–" : negative && value ? (value < 0 ? "−" : "+") : "";
  const strength = known(value) ? Math.min(1, Math.abs(value) / most) : 0;
  const named = [panel, row, column].filter(known).join(", ");
  return draw("g", { class: "cell" }, draw("title", {}, `${named}: ${text(value)}`),
    draw("rect", { x, y, width: width - 1, height: 21, fill: value < 0 ? LOSS : GAIN,
      "fill-opacity": strength.toFixed(3), class: value < 0 ? "below" : "above" }),
    words(x + width / 2 - 0.5, y + 15, fits ? text(value) : sign,
      { "text-anchor": "middle", "font-size": 11 }));
}

// --- points: a name at x and y ----------------------------------------------------------------

function spread(values) {
  const low = Math.min(...values), high = Math.max(...values);
  const margin = 0.06 * (high - low) || Math.abs(high) || 1;
  return [low - margin, high + margin];
}

function pointsPicture(figure, rows, width) {
  const there = rows.filter((row) => known(row.x) && known(row.y));
  const series = seriesOf(there);
  const ranges = { x: spread(there.map((row) => row.x)), y: spread(there.map((row) => row.y)) };
  const legend = key(series, width, (i) => [mark(i, 8, 0)], 20);
  return panelled(figure, there, { width, least: 440, legend }, (members, room) => {
    const right = room - 14, height = clamped(0.75 * room, 260, 520), bottom = height - 46;
    const x = between(...ranges.x, LEFT, right), y = between(...ranges.y, bottom, 8);
    const axes = [...scale(x, ranges.x, figure.units.x, { top: 8, bottom, count: room / 90 }),
      ...upright(y, ranges.y, figure, { left: LEFT, right, height: bottom }),
      words((LEFT + right) / 2, bottom + 34, heading(figure, "x"), MIDDLE)];
    const places = members.map((row) => [x(row.x), y(row.y)]);
    const labels = labelled(members.map((row) => String(row.name ?? "–")), places,
      { left: LEFT, right, bottom });
    return { height: height + 8, parts: [...axes, ...members.map((row, i) => draw("g",
      { class: "point" }, draw("title", {}, `${[row.panel, row.series, row.name].filter(known)
        .join(", ")}: ${told(row.x, figure.units.x)}, ${told(row.y, figure.units.y)}`),
      mark(Math.max(0, series.indexOf(row.series)), ...places[i]), ...labels[i]))] };
  });
}

// A label stands to the right of its mark, or left, above or below, where nothing else is yet; one
// that finds no room is left to the mark's title.
function labelled(names, places, { left, right, bottom }) {
  const taken = places.map(([x, y]) => [x - 5, y - 5, x + 5, y + 5]);
  return names.map((name, i) => {
    const [text, [x, y]] = [clipped(name, 24 * LETTER), places[i]];
    const size = SMALL * text.length;
    const found = [[x + 8, y - 6], [x - 8 - size, y - 6], [x - size / 2, y - 19],
      [x - size / 2, y + 7]].map(([a, b]) => [a, b, a + size, b + 12]).find(([a, b, c, d]) =>
      a >= left && c <= right && b >= 0 && d <= bottom
      && taken.every(([e, f, g, h], j) => j === i || a > g || c < e || b > h || d < f));
    if (!found) return [];
    taken.push(found);
    return [words(found[0], found[1] + 10, text, { "font-size": 11 })];
  });
}

// --- curves: y along x, a line for every series -----------------------------------------------

function curves(figure, rows, width) {
  const there = rows.filter((row) => known(row.x) && known(row.y));
  const series = seriesOf(rows), xs = distinct(there.map((row) => row.x)).sort((a, b) => a - b);
  const log = xs[0] > 0 && xs.at(-1) >= 10 * xs[0] && !isEven(xs);
  const range = extent(there.flatMap((row) => [row.y, row.low, row.high]).filter(known));
  const few = grouped(there, (row) => `${row.panel} ${row.series}`).every(([, own]) =>
    own.length <= CROWDED);
  const legend = key(series, width, (i) => line([[8, 0], [34, 0]], i, few), 42);
  return panelled(figure, there, { width, least: 300, legend }, (members, room) => {
    const right = room - 20, bottom = clamped(0.36 * room, 166, 300);
    const place = between(...[xs[0], xs.at(-1)].map(log ? Math.log : Number), LEFT + 8, right);
    const x = (value) => place(log ? Math.log(value) : value), y = between(...range, bottom, 8);
    let free = 0;
    const marks = scaleOf(xs, log).filter((value) => {
      const half = (SMALL * tick(value, figure.units.x).length) / 2;
      if (x(value) - half < free) return false;
      free = x(value) + half + 8;
      return true;
    }).map((value) => words(x(value), bottom + 18, tick(value, figure.units.x), MIDDLE));
    const label = words((LEFT + right) / 2, bottom + 34, heading(figure, "x") + (log ? " (log)" : ""),
      MIDDLE);
    const lines = grouped(members, (row) => row.series).map(([name, own]) =>
      curve(sorted(own, (row) => row.x, false), figure, { x, y, few,
        number: series.indexOf(name) }));
    return { height: bottom + 52, parts: [
      ...upright(y, range, figure, { left: LEFT, right, height: bottom }), ...marks, label,
      ...lines] };
  });
}

// Whether values are equally far apart, as numbers of components are: no case for a log scale.
function isEven(xs) {
  const step = (xs.at(-1) - xs[0]) / (xs.length - 1);
  return xs.every((value, i) => Math.abs(value - xs[0] - i * step) < 0.01 * step);
}

// Where numbers stand on a scale across: at the values themselves where they are few.
function scaleOf(xs, log) {
  const [low, high] = [xs[0], xs.at(-1)];
  if (xs.length <= CROWDED) return xs;
  if (!log) return ticks(low, high, 5);
  const tens = ticks(Math.log10(low) - 1, Math.log10(high), 99).filter(Number.isInteger);
  return distinct(tens).flatMap((ten) => [1, 2, 5].map((part) => part * 10 ** ten))
    .filter((value) => value >= low && value <= high);
}

function curve(rows, figure, { x, y, number, few }) {
  const style = Math.max(0, number), { colour } = styled(style);
  const sure = rows.filter((row) => known(row.low) && known(row.high));
  const name = [rows[0].panel, rows[0].series].filter(known).join(", ");
  const text = few ? rows.map((row) => `${told(row.x, figure.units.x)}: ${
    toldWhole(row, "y", figure)}`).join("; ") : `${rows.length} places`;
  const band = [...sure.map((row) => [row.x, row.low]),
    ...sure.toReversed().map((row) => [row.x, row.high])]
    .map(([a, b]) => `${x(a).toFixed(1)},${y(b).toFixed(1)}`).join(" ");
  const around = few ? sure.map((row) => draw("line", { x1: x(row.x), x2: x(row.x), y1: y(row.low),
    y2: y(row.high), class: "whisker", stroke: colour }))
    : [draw("polygon", { points: band, fill: colour, "fill-opacity": 0.15, class: "band" })];
  return draw("g", { class: "curve" }, draw("title", {}, `${name}: ${text}`), ...around,
    ...line(rows.map((row) => [x(row.x), y(row.y)]), style, few));
}

// --- tree: leaves, and merges of earlier rows at a height --------------------------------------

function tree(figure, rows, width) {
  const children = rows.map((row, i) => [row.left, row.right].filter((child) =>
    known(row.height) && known(child) && child >= 0 && child < i));
  const joined = new Set(children.flat());
  const order = [];
  const walk = (i) => (children[i].length ? children[i].forEach(walk) : order.push(i));
  rows.forEach((_, i) => joined.has(i) || walk(i));
  const name = (i) => String(rows[i].name ?? "–");
  const names = Math.min(0.45 * width, LETTER * longest(order.map(name)));
  const range = extent(rows.map((row) => row.height).filter(known)), bottom = 18 * order.length + 6;
  const x = between(...range, names + 12, width - 16);
  const middle = new Map(order.map((i, place) => [i, 18 * place + 12]));
  const joins = rows.flatMap((row, i) => {
    const there = children[i].filter((child) => middle.has(child));
    if (there.length < 2) return [];
    const [[a, c], [b, d]] = there.map((child) => [x(rows[child].height ?? 0), middle.get(child)]);
    const at = x(row.height);
    middle.set(i, (c + d) / 2);
    return [draw("g", { class: "merge" }, draw("title", {}, told(row.height, figure.units.height)),
      draw("path", { d: `M${[a, c]}H${at}V${d}H${b}`.replace(/\d+\.\d+/g, (v) => (+v).toFixed(1)),
        fill: "none", stroke: LINES[0], "stroke-width": 1.5 }))];
  });
  const leaves = order.map((i) => draw("g", { class: "leaf" }, draw("title", {}, name(i)),
    words(names, middle.get(i) + 4, clipped(name(i), names), { "text-anchor": "end" })));
  return picture(width, bottom + 52, figure.title, ...scale(x, range, figure.units.height,
    { top: 2, bottom, count: (width - names) / 80 }), ...leaves, ...joins,
  words((names + width) / 2, bottom + 34, heading(figure, "height"), MIDDLE));
}

// --- the sections -----------------------------------------------------------------------------

const DRAWN = { dots, grid: gridPicture, points: pointsPicture, curves, tree };
const PLACED = { dots: ["name"], grid: ["row"], points: ["x", "y"], curves: ["x", "y"], tree: ["name"] };

function figureOf(figure, tables, width) {
  const head = element("h3", {}, figure.title);
  const quiet = (text) => element("p", { class: "quiet" }, text);
  if (!(figure.table in tables)) return [head, quiet(
    `Not drawn: the table '${figure.table}' has ${figure.rows.toLocaleString("en")} rows.`)];
  const rows = seen(figure, tables);
  if (!rows.some((row) => PLACED[figure.kind].every((word) => known(row[word]))))
    return [head, quiet("Not drawn: no value is known.")];
  const drawn = DRAWN[figure.kind](figure, rows, width);
  const box = element("div", { class: "box", role: "region", tabindex: 0,
    "aria-label": figure.title }, drawn);
  const columns = Object.entries(tables[figure.table]);
  const csv = () => csvFile(columns.map(([name]) => name),
    columns[0][1].map((_, i) => columns.map(([, values]) => values[i])));
  return [head, element("figure", {}, box, element("figcaption", { class: "quiet" }, figure.note)),
    fileButtons(figure.title, { svg: () => svgFile(drawn), csv })];
}

function refreshAnalyses() {
  for (const host of document.querySelectorAll("[data-analysis]")) {
    const width = clamped(host.clientWidth, 280, 1100);
    if (host.dataset.width === String(width)) continue;
    host.dataset.width = width;
    const { figures, tables } = analyses[host.dataset.analysis];
    host.replaceChildren(...figures.flatMap((figure) => figureOf(figure, tables, width)));
  }
}
