// The matrix as a table: which cells, in which order, how one looks and what is known of it.
// Stands in the page's script after figures.js and before page.js.
"use strict";

const { study, slices, sources, targets, metrics, cells, losses, analyses } = JSON.parse(
  document.getElementById("payload").textContent
);
const RELATIONS = ["same task", "in-domain", "out-of-domain", "cross-task"];
const STATES = { missing: "–", failed: "✕" };
const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
const COLUMNS = ["metric", "relation", "scoring", "seeds", "n", "base", "score", "gain", "low",
  "high", "scope", "method", "p", "q", "detectable", "leaked", "contained", "constant", "status"];
const ORDERS = [["study", "order of the study"], ["name", "name"], ["family", "family"],
  ["mean", "mean gain"]];

const view = {
  slice: 0,
  metric: "main",
  relation: "",
  significantOnly: false,
  family: { rows: "", columns: "" },
  order: { rows: { by: "study" }, columns: { by: "study" } },
  focus: null,
  sharedRange: true,
};
const things = { rows: targets, columns: sources };
let grid = new Map();
let full = 0.05;

// --- cells ------------------------------------------------------------------------------------

// Positions in the columns of `cells` that fit slice, metric and relation, by source and target.
function chosen() {
  const found = new Map();
  const metric = metrics.indexOf(view.metric);
  cells.slice.forEach((slice, i) => {
    const fits = view.metric === "main" ? cells.main[i] : cells.metric[i] === metric;
    const related = !view.relation || cells.relation[i] === view.relation;
    if (slice === view.slice && fits && related) found.set(`${cells.source[i]} ${cells.target[i]}`, i);
  });
  return found;
}

// Colours are full where only one gain in twenty is larger, and never below five points.
function fullAt(positions) {
  const sizes = positions.map((i) => cells.gain[i]).filter(known).map(Math.abs);
  sizes.sort((a, b) => a - b);
  return Math.max(0.05, sizes[Math.ceil(0.95 * sizes.length) - 1] ?? 0);
}

function at(row, column) {
  return grid.get(`${column} ${row}`);
}

function gainAt(row, column) {
  return cells.gain[at(row, column)];
}

function isKnown(i) {
  return i !== undefined && known(cells.gain[i]);
}

// The limit is that of words.py, whose sentences stand on the same page.
function isSignificant(i) {
  return isKnown(i) && known(cells.q[i]) && cells.q[i] < 0.05;
}

function starsOf(i) {
  if (!isSignificant(i)) return "";
  return cells.q[i] < 0.001 ? "***" : cells.q[i] < 0.01 ? "**" : "*";
}

function marksOf(i) {
  const leak = cells.leaked[i] > 0 ? "⚑" : cells.contained[i] > 0 ? "⚐" : "";
  return leak + (cells.constant[i] ? "▬" : "");
}

// What a cell shows, on the page and in the figure.
function look(i) {
  if (i === undefined) return { number: "", stars: "", marks: "", strength: 0, kinds: ["absent"] };
  const kinds = [cells.relation[i].replace(" ", "-")];
  if (!isKnown(i)) {
    const state = STATES[cells.status[i]] ? cells.status[i] : "missing";
    return { number: STATES[state], stars: "", marks: "", strength: 0, kinds: [...kinds, state] };
  }
  const gain = cells.gain[i];
  const sure = isSignificant(i);
  const hidden = view.significantOnly && !sure;
  kinds.push(gain < 0 ? "loss" : "gain", sure ? "sure" : "unsure");
  const strength = hidden ? 0 : Math.sqrt(Math.min(1, Math.abs(gain) / full)) * (sure ? 1 : 0.3);
  const number = hidden ? "" : signed(gain);
  return { number, stars: starsOf(i), marks: hidden ? "" : marksOf(i), strength, kinds };
}

const averaged = () => view.relation || "cross-task";

function meanGain(positions) {
  const abroad = positions.filter((i) => isKnown(i) && cells.relation[i] === averaged());
  return mean(abroad.map((i) => cells.gain[i]));
}

function meanOf(axis, index, others) {
  return meanGain(others.map((o) => (axis === "rows" ? at(index, o) : at(o, index))));
}

function baseOf(row) {
  const found = sources.map((_, column) => at(row, column)).filter((i) => i !== undefined);
  return cells.base[found.find((i) => known(cells.base[i]))] ?? null;
}

// --- which rows and columns, in which order ---------------------------------------------------

function familiesOf(axis, index) {
  const thing = things[axis][index];
  return axis === "rows" ? [thing.family] : thing.families;
}

function kept(axis) {
  const family = view.family[axis];
  const own = axis === "rows" ? cells.target : cells.source;
  const there = new Set([...grid.values()].map((i) => own[i]));
  const fits = (index) => there.has(index) && (!family || familiesOf(axis, index).includes(family));
  return things[axis].map((_, index) => index).filter(fits);
}

function sorted(list, value, descending) {
  const keyed = list.map((index) => [index, value(index)]);
  const compare = ([, a], [, b]) => {
    if (!known(a) || !known(b)) return Number(!known(a)) - Number(!known(b));
    return (a < b ? -1 : a > b ? 1 : 0) * (descending ? -1 : 1);
  };
  return keyed.sort(compare).map(([index]) => index);
}

function ordered(axis, own, others) {
  const { by, descending } = view.order[axis];
  const values = {
    study: (index) => index,
    name: (index) => things[axis][index].name,
    family: (index) => familiesOf(axis, index).join("+"),
    mean: (index) => meanOf(axis, index, others),
    base: (index) => baseOf(index),
  };
  const gain = (index) => (axis === "rows" ? gainAt(index, by) : gainAt(by, index));
  return sorted(own, values[by] ?? gain, descending);
}

function shown() {
  const rows = kept("rows"), columns = kept("columns");
  return { rows: ordered("rows", rows, columns), columns: ordered("columns", columns, rows) };
}

// A header's button: largest first, then smallest first, then the order of the study again.
function turn(axis, by) {
  const now = view.order[axis];
  const next = now.by !== by ? { by, descending: true }
    : now.descending ? { by, descending: false } : { by: "study" };
  view.order[axis] = next;
  refreshMatrix();
}

// --- the matrix -------------------------------------------------------------------------------

function header(place, label, axis, by, title) {
  const attributes = { ...place, scope: place["data-row"] === "head" ? "col" : "row" };
  const { by: now, descending } = view.order[axis];
  if (now === by) attributes["aria-sort"] = descending ? "descending" : "ascending";
  const act = button("", () => turn(axis, by), { tabindex: -1, title });
  act.append(...breakable(label));
  return element("th", attributes, act);
}

// A long name may be cut after an underscore.
function breakable(name) {
  return name.split(/(?<=_)/).flatMap((part, i) => (i ? [element("wbr"), part] : [part]));
}

function gainCell(row, column) {
  const i = at(row, column);
  const { number, stars, marks, strength, kinds } = look(i);
  const made = element("td", { class: kinds.join(" "), tabindex: -1, "data-row": row,
    "data-column": column }, element("span", {}, number));
  if (stars && number) made.append(element("sup", {}, stars));
  if (marks) made.append(element("i", {}, marks));
  made.style.setProperty("--strength", `${(100 * strength).toFixed(1)}%`);
  return made;
}

function summaryCell(row, column, text) {
  return element("td", { class: "summary", tabindex: -1, "data-row": row, "data-column": column },
    element("span", {}, text));
}

function headRow(columns) {
  const head = (column) => ({ "data-row": "head", "data-column": column });
  return element("tr", {},
    element("th", { ...head("name"), scope: "col", tabindex: -1 }, "target"),
    header(head("base"), "base score", "rows", "base", "Sort the targets by the base score"),
    ...columns.map((c) => header(head(c), sources[c].name, "rows", c,
      `${sources[c].families.join(" + ")}: sort the targets by the gain from this source`)),
    header(head("mean"), `mean, ${averaged()}`, "rows", "mean",
      `Over the known ${averaged()} cells: sort the targets by it`));
}

function bodyRow(row, columns) {
  const { name, family } = targets[row];
  const label = header({ "data-row": row, "data-column": "name" }, name, "columns", row,
    `${family}: sort the sources by the gain on this target`);
  return element("tr", {}, label, summaryCell(row, "base", points(baseOf(row))),
    ...columns.map((column) => gainCell(row, column)),
    summaryCell(row, "mean", signed(meanOf("rows", row, columns))));
}

function meanRow(rows, columns) {
  const all = rows.flatMap((row) => columns.map((column) => at(row, column)));
  return element("tr", {},
    header({ "data-row": "mean", "data-column": "name" }, `mean, ${averaged()}`, "columns", "mean",
      `Over the known ${averaged()} cells: sort the sources by it`),
    summaryCell("mean", "base", ""),
    ...columns.map((c) => summaryCell("mean", c, signed(meanOf("columns", c, rows)))),
    summaryCell("mean", "mean", signed(meanGain(all))));
}

function matrixTable({ rows, columns }) {
  const label = "Gains in points: targets down, sources across";
  const many = columns.length > 8 ? "many" : "few";
  return element("table", { role: "grid", "aria-label": label, class: many },
    element("thead", {}, headRow(columns)),
    element("tbody", {}, ...rows.map((row) => bodyRow(row, columns))),
    element("tfoot", {}, meanRow(rows, columns)));
}

// --- moving through the matrix ----------------------------------------------------------------

const focusable = (cell) => cell.querySelector("button") ?? cell;

function place(cell) {
  return `[data-row="${cell.dataset.row}"][data-column="${cell.dataset.column}"]`;
}

// One cell at a time is in the tab order; it is found again after the matrix was drawn anew.
function makeCurrent(table) {
  const cell = (view.focus && table.querySelector(view.focus)) || table.querySelector("tbody td")
    || table.querySelector("th");
  focusable(cell).tabIndex = 0;
  return cell;
}

function onFocus(event) {
  const cell = event.target.closest("td, th");
  const old = event.currentTarget.querySelector('[tabindex="0"]');
  if (old) old.tabIndex = -1;
  focusable(cell).tabIndex = 0;
  view.focus = place(cell);
  showDetail(cell);
}

function onKey(event) {
  const cell = event.target.closest("td, th");
  const table = event.currentTarget;
  if (event.key === "Escape") showDetail(null);
  const last = { row: table.rows.length - 1, column: table.rows[0].cells.length - 1 };
  let [row, column] = [cell.parentNode.rowIndex, cell.cellIndex];
  if (STEPS[event.key]) [row, column] = [row + STEPS[event.key][0], column + STEPS[event.key][1]];
  else if (event.key === "Home") [row, column] = [event.ctrlKey ? 0 : row, 0];
  else if (event.key === "End") [row, column] = [event.ctrlKey ? last.row : row, last.column];
  else return;
  event.preventDefault();
  const [r, c] = [Math.max(0, Math.min(last.row, row)), Math.max(0, Math.min(last.column, column))];
  const next = table.rows[r].cells[c];
  focusable(next).focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest", inline: "nearest" });  // clear of what is sticky
}

// --- what is known of one cell ----------------------------------------------------------------

function scopeText(i) {
  const seeds = cells.seeds[i] === 1 ? "one seed" : `${cells.seeds[i]} seeds`;
  const model = "this model, not this source: ";
  return (cells.scope[i] === "this model" ? model : "this source: ") + seeds;
}

function leakText(i) {
  const [leaked, contained] = [cells.leaked[i], cells.contained[i]];
  if (!known(leaked)) return "not known";
  if (!leaked && !contained) return "none found";
  return [leaked && `⚑ ${leaked} test inputs stand in the source's training rows`,
    contained > leaked && `⚐ ${contained} test rows have a field contained in a training input`]
    .filter(Boolean).join("; ");
}

function intervalText(i) {
  const method = known(cells.method[i]) ? ` (${cells.method[i]})` : "";
  return `${signed(cells.low[i])} to ${signed(cells.high[i])}${method}`;
}

function facts(i) {
  const gains = isKnown(i) ? [
    ["95 % interval", intervalText(i)],
    ["holds for", scopeText(i)],
    ["q", `${probability(cells.q[i])} (p ${probability(cells.p[i])})`],
    ["could have shown", `${points(cells.detectable[i])} points or more`],
  ] : [];
  const all = [
    ["base → tuned", `${points(cells.base[i])} → ${points(cells.score[i])}`], ...gains,
    ["test examples", `${cells.n[i] ?? "not known"}, seeds ${cells.seeds[i]}`],
    ["leakage", leakText(i)]];
  return element("dl", {}, ...all.flatMap(([term, text]) =>
    [element("dt", {}, term), element("dd", {}, text)]));
}

function bar(kind, count, total) {
  const share = total ? (100 * count) / total : 0;
  const made = element("span", { class: `bar ${kind}` });
  made.style.setProperty("--share", `${share.toFixed(1)}%`);
  return element("td", {}, made, element("span", {}, `${Math.floor(share + 1e-9)} %`));
}

// Shares of answers by class, rounded down as in words.py, over all seeds; at most eight classes, those the tuned model gives most.
function distribution(i) {
  const parts = [["base", cells.base_answers], ["tuned", cells.answers], ["truth", cells.truth]]
    .map(([kind, column]) => [kind, column[i]]).filter(([, counts]) => known(counts));
  if (!parts.length) return [];
  const names = [...new Set(parts.flatMap(([, counts]) => Object.keys(counts)))];
  const first = sorted(names, (name) => cells.answers[i]?.[name] ?? 0, true).slice(0, 8);
  const total = (counts) => Object.values(counts).reduce((sum, n) => sum + n, 0);
  const rest = names.length - first.length;
  const said = cells.constant[i] ? "▬ The tuned model gives nearly one answer only. " : "";
  const head = element("tr", {}, element("th", { scope: "col" }, "answer"),
    ...parts.map(([kind]) => element("th", { scope: "col" }, kind)));
  return [element("table", { class: "answers" }, element("thead", {}, head),
    element("tbody", {}, ...first.map((name) => element("tr", {},
      element("th", { scope: "row", title: name }, name),
      ...parts.map(([kind, counts]) => bar(kind, counts[name] ?? 0, total(counts))))))),
  element("p", { class: "quiet" }, said + (rest ? `${rest} more classes are not shown.` : ""))];
}

function description(i) {
  const { recipe, condition } = slices[cells.slice[i]];
  const status = cells.status[i];
  const state = STATES[status] ? `${STATES[status]} ${status}` : "not known";
  return [
    element("h3", {}, `${sources[cells.source[i]].name} → ${targets[cells.target[i]].name}`),
    element("p", { class: "quiet" },
      [cells.relation[i], recipe, condition, cells.scoring[i], metrics[cells.metric[i]]]
        .join(" · ")),
    element("p", { class: `headline ${look(i).kinds.join(" ")}` },
      isKnown(i) ? `${signed(cells.gain[i])} points${starsOf(i) && ` ${starsOf(i)}`}` : state),
    facts(i), ...distribution(i)];
}

function showDetail(cell) {
  const i = cell && at(cell.dataset.row, cell.dataset.column);
  const panel = document.getElementById("detail");
  if (panel.dataset.cell === String(i)) return;
  panel.dataset.cell = i;
  panel.classList.toggle("open", known(i));
  const hint = "Point at a cell, tap it, or walk there with Tab and the arrow keys.";
  const close = button("×", () => showDetail(null), { class: "close", "aria-label": "Close" });
  panel.replaceChildren(...(panel.classList.contains("open") ? [close, ...description(i)]
    : [element("p", { class: "quiet" }, hint)]));
}
