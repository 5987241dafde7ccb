/** The map of a session's cells: what the model finds alike lies together; a line around cells takes them to review. */
import { button, h, icon, iconButton, show } from "../elements.js";
import { percent, t } from "../words.js";
import { bus, className, cropUrl, inOrder, namedCells, path, work } from "../work.js";
import { remember, remembered } from "../memory.js";
import { get, withQuery } from "../server.js";
import { handOver } from "../parts/chosen.js";
import { cellDetail } from "../parts/detail.js";
import { exportMenu } from "../parts/exports.js";
import { gallery } from "../parts/gallery.js";
import { colorOf, mark, stillRefused } from "../parts/marks.js";
import { Scatter } from "../parts/scatter.js";
import { complain } from "../parts/toasts.js";
import { skeleton } from "./cell.js";

const METHODS = ["pca", "tsne", "umap"];
const COLORS = ["class", "confidence", "refused", "reviewed", "source"];
const BINARY = { yes: "#c34c10", no: "#8fa3bd" };
const RAMP = ["#4a1060", "#9e265a", "#de5034", "#fa9214", "#fcd042"];

export async function render(root, { signal, go }) {
  const state = { cells: new Map(), points: [], method: remembered("method") || "pca", color: "class", hidden: new Set(), chosen: [] };
  root.append(h("div", { class: "page-head" }, h("div", {}, h("h1", {}, t("map.title")), h("p", { class: "lead" }, t("map.lead")))));
  const body = h("div", { class: "map-body" });
  root.append(body);
  if (!work.sid) { body.append(nothing(go)); return; }
  show(body, skeleton());
  const tip = h("div", { class: "map-tip", hidden: true });
  const scatter = new Scatter({ hover: (point, x, y) => showTip(point, x, y), choose: ids => { state.chosen = ids; drawChosen(); }, open: point => openCell(point.id) });
  signal.addEventListener("abort", () => scatter.view.end());
  window.addEventListener("corpuscle:theme", () => scatter.view.redraw(), { signal });
  const status = h("p", { class: "field-note", role: "status" });
  const legend = h("div", { class: "legend" });
  const panel = h("section", { class: "card", "aria-live": "polite" });
  const lasso = h("button", { type: "button", class: "button", "aria-pressed": "false", on: { click: () => {
    scatter.lasso = !scatter.lasso;
    lasso.setAttribute("aria-pressed", scatter.lasso);
    scatter.canvas.classList.toggle("lasso", scatter.lasso);
  } } }, icon("lasso"), h("span", {}, t("map.lasso")));

  async function load() {
    const cells = (await namedCells()).filter(cell => cell.probabilities);
    if (signal.aborted) return;
    if (!cells.length) { show(body, nothing(go)); return; }
    state.cells = new Map(cells.map(cell => [cell.id, cell]));
    show(body, h("section", { class: "card map-card" }, controls(), h("div", { class: "map-box" }, scatter.canvas, tip, status,
      h("div", { class: "field-tools" }, iconButton("plus", t("view.in"), () => scatter.view.zoomBy(1.4)),
        iconButton("minus", t("view.out"), () => scatter.view.zoomBy(1 / 1.4)), iconButton("fit", t("view.fit"), () => scatter.view.fit()))),
    h("p", { class: "muted small" }, t("map.caution"))),
    h("div", { class: "map-side" }, h("section", { class: "card" }, h("h2", {}, t("map.legend")), legend), panel));
    drawChosen();
    await place();
  }
  function controls() {
    const choose = (id, keys, now, words, run) => h("div", { class: "pair" }, h("label", { for: id }, t(`map.${id}`)),
      h("select", { id, on: { change: event => run(event.target.value) } }, keys.map(key => h("option", { value: key, selected: key === now }, t(`${words}.${key}`)))));
    return h("div", { class: "row spread" }, h("div", { class: "row" },
      choose("method", METHODS, state.method, "method", key => { state.method = key; place().catch(complain); }),
      choose("color", COLORS, state.color, "coloring", key => { state.color = key; state.hidden.clear(); draw(); })),
    h("div", { class: "row" }, lasso, exportMenu(["map.csv", "cells.csv"])));
  }
  async function place() {
    status.textContent = t("map.placing");
    try {
      const { points } = await get(withQuery(path("map"), { method: state.method, dimensions: 2 }), signal);
      if (signal.aborted) return;
      remember("method", state.method);
      state.points = points.filter(point => state.cells.has(point.cell));
      status.textContent = state.points.length < 3 ? t("map.few") : "";
      draw();
      scatter.view.resize();
    } catch (error) {
      if (error.name !== "AbortError") status.textContent = error.message;
    }
  }
  function groupOf(cell) {
    if (state.color === "class") return cell.class_now || cell.class;
    if (state.color === "refused") return stillRefused(cell) ? "yes" : "no";
    if (state.color === "reviewed") return cell.reviewed ? "yes" : "no";
    if (state.color === "source") return cell.source;
    return String(Math.min(RAMP.length - 1, Math.floor((cell.confidence ?? 0) * RAMP.length)));
  }
  function colorFor(group) {
    if (state.color === "class") return colorOf(group);
    if (state.color === "confidence") return RAMP[group];
    return { ...BINARY, crop: "#3d8fd1", field: "#c34c10" }[group];
  }
  function groupWords(group) {
    if (state.color === "class") return className(group);
    if (state.color === "confidence") return `${percent(group / RAMP.length, 0)} – ${percent((Number(group) + 1) / RAMP.length, 0)}`;
    return t(`coloring.${state.color}_${group}`);
  }
  function draw() {
    scatter.give(state.points.map(point => {
      const cell = state.cells.get(point.cell), group = groupOf(cell);
      return { id: cell.id, x: point.x, y: point.y, key: cell.class_now || cell.class, color: colorFor(group), faint: state.hidden.has(group) };
    }));
    drawLegend();
  }
  function drawLegend() {
    const groups = new Map();
    for (const point of state.points) {
      const group = groupOf(state.cells.get(point.cell));
      groups.set(group, [...(groups.get(group) || []), point.cell]);
    }
    const keys = state.color === "class" ? inOrder([...groups.keys()]) : [...groups.keys()].sort();
    show(legend, h("ul", { class: "legend-list" }, keys.map(group => h("li", {},
      h("label", { class: "check" }, h("input", { type: "checkbox", checked: !state.hidden.has(group), on: { change: event => {
        if (event.target.checked) state.hidden.delete(group); else state.hidden.add(group);
        for (const point of scatter.points) point.faint = state.hidden.has(groupOf(state.cells.get(point.id)));
        scatter.view.redraw();
      } } }), state.color === "class" ? mark(group) : h("span", { class: "swatch", vars: { "--c": colorFor(group) } }),
      h("span", {}, groupWords(group)), h("span", { class: "count" }, String(groups.get(group).length))),
      h("button", { type: "button", class: "button quiet small", "aria-label": t("map.choose_group", { name: groupWords(group) }),
        on: { click: () => scatter.select(groups.get(group)) } }, t("map.choose"))))));
  }
  function showTip(point, x, y) {
    tip.hidden = !point;
    if (!point) return;
    const cell = state.cells.get(point.id);
    tip.style.setProperty("--x", `${x}px`);
    tip.style.setProperty("--y", `${y}px`);
    tip.classList.toggle("left", x > scatter.view.width - 220);
    show(tip, h("img", { src: cropUrl(cell, 96), alt: "", width: 72, height: 72 }),
      h("p", {}, h("span", { class: "strong" }, className(cell.class_now || cell.class)), h("br"),
        stillRefused(cell) ? t("cell.refused") : percent(cell.confidence ?? 0)));
  }
  function openCell(id) {
    const cell = state.cells.get(id);
    show(panel, h("div", { class: "card-head" }, h("h2", {}, t("cell.number", { n: cell.number })),
      iconButton("close", t("word.close"), drawChosen)),
    cellDetail(cell, { heatPx: 200, onchange: fresh => { state.cells.set(id, fresh); draw(); openCell(id); },
      actions: [button(t("cell.to_review"), { icon: "review", onclick: () => go(`/review?cell=${id}`) })] }));
  }
  function drawChosen() {
    if (!state.chosen.length) { show(panel, h("h2", {}, t("map.chosen_none")), h("p", { class: "muted small" }, t("map.how"))); return; }
    const cells = state.chosen.map(id => state.cells.get(id));
    show(panel, h("h2", {}, t("map.chosen", { n: cells.length })), h("div", { class: "row" },
      button(t("map.review"), { icon: "review", kind: "primary", onclick: () => { handOver(state.chosen); go("/review"); } }),
      button(t("map.drop"), { onclick: () => scatter.select([]) })),
    gallery(cells, { open: cell => openCell(cell.id) }).element);
  }
  bus.addEventListener("cell", event => { if (!event.detail) load().catch(complain); }, { signal });
  await load();
}

function nothing(go) {
  return h("section", { class: "empty card" }, icon("map", "huge"), h("h2", {}, t("map.empty")), h("p", { class: "muted" }, t("map.empty_next")),
    h("div", { class: "row center" }, button(t("nav.cell"), { icon: "cell", onclick: () => go("/cell") }), button(t("nav.field"), { icon: "field", onclick: () => go("/field") })));
}
