// Puts the report together: controls, the matrix, a figure for each source and target, loss curves.
// Stands last in the page's script, after figures.js, matrix.js and analyses.js.
"use strict";

// --- controls and files -----------------------------------------------------------------------

const fileName = (...parts) => [study, ...parts].join("-").replace(/[^\p{L}\p{N}._-]+/gu, "_");

function cellsFile(positions) {
  const head = ["source", "target", "recipe", "condition", ...COLUMNS];
  return csvFile(head, positions.map((i) => {
    const { recipe, condition } = slices[cells.slice[i]];
    const named = { metric: metrics[cells.metric[i]] };
    return [sources[cells.source[i]].name, targets[cells.target[i]].name, recipe, condition,
      ...COLUMNS.map((column) => named[column] ?? cells[column][i])];
  }));
}

function sliceName() {
  const { recipe, condition } = slices[view.slice];
  return [recipe, condition, view.relation].filter(Boolean).join(" · ");
}

function matrixPicture() {
  const { rows, columns } = shown();
  const metric = view.metric === "main" ? "main metric of each target" : view.metric;
  return heatmap({
    rows: rows.map((row) => targets[row].name),
    columns: columns.map((column) => sources[column].name),
    looks: rows.map((row) => columns.map((column) => look(at(row, column)))),
    label: `${study}: gains in points, ${sliceName()}, ${metric}`,
    notes: [
      `Blue: gain. Orange: loss. Full colour: ${points(full)} points.`,
      "Bold: q below .05 *, .01 **, .001 ***. Pale: may be chance.",
      "Framed: same task. Dashed: in-domain. Dotted: out-of-domain. Hatched: not known.",
      "⚑ ⚐ seen in training, wholly or in part. ▬ nearly one answer only.",
      ...(view.significantOnly ? ["Blank: may be chance."] : []),
    ],
  });
}

function matrixFile() {
  const { rows, columns } = shown();
  const all = rows.flatMap((row) => columns.map((column) => at(row, column)));
  const hidden = (i) => view.significantOnly && isKnown(i) && !isSignificant(i);
  return cellsFile(all.filter((i) => i !== undefined && !hidden(i)));
}

function fileButtons(name, files) {
  const made = Object.entries(files).map(([kind, content]) => button(kind.toUpperCase(),
    async () => save(`${fileName(name)}.${kind}`, await content()),
    { "aria-label": `Save ${name} as ${kind.toUpperCase()}` }));
  return element("p", { class: "files" }, element("span", {}, "Save"), ...made);
}

function familyChoice(label, axis) {
  const all = [...new Set(things[axis].flatMap((_, index) => familiesOf(axis, index)))].sort();
  return choice(label, [["", "all"], ...all.map((name) => [name, name])], "", (family) => {
    view.family[axis] = family;
    refreshMatrix();
  });
}

function orderChoice(label, axis) {
  const made = choice(label, ORDERS, "study", (by) => {
    view.order[axis] = { by, descending: by === "mean" };
    refreshMatrix();
  });
  const clicked = element("option", { value: "clicked", disabled: "", hidden: "" }, "as clicked");
  made.querySelector("select").append(clicked);
  made.dataset.order = axis;
  return made;
}

function controls() {
  const others = [...new Set(cells.metric.filter((_, i) => !cells.main[i]))].map((m) => metrics[m]);
  const made = element("div", { class: "controls", role: "group", "aria-label": "What is shown" });
  if (slices.length > 1) made.append(choice("recipe · condition",
    slices.map(({ recipe, condition }, i) => [i, `${recipe} · ${condition}`]), 0, (slice) => {
      view.slice = Number(slice);
      refresh();
    }));
  if (others.length) made.append(choice("metric",
    [["main", "main of each target"], ...others.map((m) => [m, m])], "main", (metric) => {
      view.metric = metric;
      refresh();
    }));
  const related = RELATIONS.filter((name) => cells.relation.includes(name));
  if (related.length > 1) made.append(choice("relation",
    [["", "all"], ...related.map((name) => [name, name])], "", (relation) => {
      view.relation = relation;
      refresh();
    }));
  made.append(familyChoice("targets' family", "rows"), familyChoice("sources' family", "columns"),
    orderChoice("order of targets", "rows"), orderChoice("order of sources", "columns"),
    checkbox("significant only", false, (on) => {
      view.significantOnly = on;
      refreshMatrix();
    }));
  return made;
}

function legend() {
  const swatch = (kinds, sign, text, strength = 0) => {
    const made = element("span", { class: `swatch ${kinds}` }, sign);
    made.style.setProperty("--strength", `${strength}%`);
    return element("li", {}, made, text);
  };
  return element("ul", { class: "legend", "aria-label": "Legend" },
    element("li", { id: "scale" }), swatch("gain sure", "+", "gain", 70),
    swatch("loss sure", "−", "loss", 70), swatch("gain unsure", "", "pale: not significant", 25),
    element("li", {}, "q below .05 *, .01 **, .001 ***"), swatch("same-task", "", "same task"),
    swatch("in-domain", "", "in-domain"), swatch("out-of-domain", "", "out-of-domain"),
    element("li", {}, "no frame: cross-task"), swatch("missing", "–", "missing"),
    swatch("failed", "✕", "failed"), element("li", {}, "⚑ test inputs were trained on"),
    element("li", {}, "⚐ parts of them were"), element("li", {}, "▬ nearly one answer only"));
}

// --- each source and each target --------------------------------------------------------------

function cellsOf(axis, index) {
  const others = axis === "rows" ? sources.map((_, column) => at(index, column))
    : targets.map((_, row) => at(row, index));
  const there = others.filter((i) => i !== undefined);
  return sorted(there, (i) => cells.gain[i], true);
}

function profileRow(axis, i) {
  const other = axis === "rows" ? sources[cells.source[i]] : targets[cells.target[i]];
  const { number, kinds } = look(i);
  const marks = marksOf(i);
  const [gain, low, high] = [cells.gain[i], cells.low[i], cells.high[i]];
  const text = isKnown(i) ? signed(gain) : number;
  const interval = known(low) ? `, 95 % interval ${signed(low)} to ${signed(high)}` : "";
  const one = cells.constant[i] ? ", ▬ nearly one answer only" : "";
  const told = isKnown(i) ? text + interval + one : cells.status[i];
  const leak = cells.leaked[i] || cells.contained[i] ? `, ${leakText(i)}` : "";
  const label = marks ? `${marks} ${other.name}` : other.name;
  return { label, gain, low, high, kinds, text: text + starsOf(i),
    title: `${other.name} (${cells.relation[i]}): ${told}${leak}` };
}

function countsText(positions) {
  const sure = positions.filter(isSignificant);
  const up = sure.filter((i) => cells.gain[i] > 0).length;
  const unknown = positions.filter((i) => !isKnown(i)).length;
  const undecided = positions.length - sure.length - unknown;
  return `${up} significantly up, ${sure.length - up} down, ${undecided} undecided`
    + (unknown ? `, ${unknown} not known` : "");
}

function profile(axis, index, host) {
  const { name } = things[axis][index];
  const counts = element("span", { class: "quiet" });
  const body = element("div");
  const summary = element("summary", {}, element("b", {}, name), " ", counts);
  const made = element("details", {}, summary, body);
  made.refresh = () => {
    const positions = cellsOf(axis, index);
    counts.textContent = countsText(positions);
    body.replaceChildren();
    if (!made.open || !positions.length) return;
    const told = axis === "rows" ? `Gains on ${name} by source` : `Gains of ${name} by target`;
    const width = Math.max(280, Math.min(720, host.clientWidth));
    const rows = positions.map((i) => profileRow(axis, i));
    const figure = forest(rows, `${told}, ${sliceName()}`, width);
    body.append(element("figure", {}, figure), fileButtons(told,
      { svg: () => svgFile(figure), csv: () => cellsFile(positions) }));
  };
  made.addEventListener("toggle", made.refresh);
  return made;
}

// --- the loss curves --------------------------------------------------------------------------

function refreshLosses() {
  const host = document.getElementById("loss-curves");
  if (!losses.length) return host.replaceChildren(element("p", {}, "No loss curve is stored."));
  const panels = sources.map(({ name }, source) => ({ name,
    curves: losses.filter((curve) => curve.source === source) })).filter((p) => p.curves.length);
  const recipes = [...new Set(losses.map((curve) => curve.recipe))];
  const width = Math.max(280, Math.min(1100, host.clientWidth));
  const figure = lossPanels(panels, recipes, { width, shared: view.sharedRange });
  const rows = () => losses.flatMap(({ source, recipe, seed, losses: values, every = 1 }) =>
    values.map((loss, i) => [sources[source].name, recipe, seed, 1 + i * every, loss]));
  const range = checkbox("same range for all", view.sharedRange, (on) => {
    view.sharedRange = on;
    refreshLosses();
    host.querySelector("input").focus();
  });
  const every = Math.max(...losses.map((curve) => curve.every ?? 1));
  const caption = element("figcaption", { class: "quiet" }, every > 1 ? `Thin: mean of ${every} `
    + "steps. Thick: moving average." : "Thin: every step. Thick: moving average.");
  const files = fileButtons("loss curves", { svg: () => svgFile(figure),
    csv: () => csvFile(["source", "recipe", "seed", "step", "loss"], rows()) });
  return host.replaceChildren(element("div", { class: "controls" }, range),
    element("figure", {}, figure, caption), files);
}

// --- the page ---------------------------------------------------------------------------------

function refreshMatrix() {
  const box = document.querySelector("#heatmap .box");
  const inside = box.contains(document.activeElement);
  const order = shown();
  const table = matrixTable(order);
  table.addEventListener("focusin", onFocus);
  table.addEventListener("keydown", onKey);
  table.addEventListener("pointerover", (event) => showDetail(event.target.closest("td, th")));
  const empty = element("p", {}, "No cell is left by these choices.");
  box.replaceChildren(order.rows.length && order.columns.length ? table : empty);
  for (const { dataset, firstElementChild: label } of document.querySelectorAll("[data-order]")) {
    const { by } = view.order[dataset.order];
    label.nextElementSibling.value = ORDERS.some(([value]) => value === by) ? by : "clicked";
  }
  const current = makeCurrent(table);
  if (inside) focusable(current).focus();
  document.getElementById("scale").textContent =
    `points; colour grows with their square root, full at ±${points(full)}`;
}

function refreshProfiles() {
  for (const details of document.querySelectorAll("#by-source details, #by-target details"))
    details.refresh();
}

function refresh() {
  grid = chosen();
  full = fullAt([...grid.values()]);
  refreshMatrix();
  refreshProfiles();
}

function start() {
  const panel = element("aside", { id: "detail", "aria-live": "polite", "aria-label": "The cell" });
  const box = element("div", { class: "box" });
  const around = element("div", { class: "around" }, box, panel);
  // A cell that was clicked is told of again when the mouse has left the others.
  const clicked = () => document.activeElement.closest(".box td");
  box.addEventListener("pointerleave", () => clicked() && showDetail(clicked()));
  around.addEventListener("pointerleave", () => showDetail(clicked()));
  document.getElementById("heatmap").append(controls(), around, legend(), fileButtons("matrix",
    { svg: () => svgFile(matrixPicture()), png: () => pngFile(matrixPicture()), csv: matrixFile }));
  for (const [id, axis] of [["by-source", "columns"], ["by-target", "rows"]]) {
    const host = document.getElementById(id);
    host.append(...things[axis].map((_, index) => profile(axis, index, host)));
    if (host.firstElementChild) host.firstElementChild.open = true;
  }
  const origin = document.querySelector("#provenance details");
  origin?.append(fileButtons("scores", { csv: () => tableFile(origin.querySelector("table")) }));
  showDetail(null);
  refresh();
  refreshLosses();
  refreshAnalyses();
  addEventListener("resize", onResize);
}

function onResize() {
  cancelAnimationFrame(onResize.frame);
  onResize.frame = requestAnimationFrame(() => {
    refreshProfiles();
    refreshLosses();
    refreshAnalyses();
  });
}

start();
