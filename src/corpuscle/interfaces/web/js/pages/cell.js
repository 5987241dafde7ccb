/** Single cells: give crops, see what each is, how sure that is, and why. */
import { button, h, icon, show } from "../elements.js";
import { t } from "../words.js";
import { bus, cellsOf, doubt, forget, imagesOf, work } from "../work.js";
import { countBars, countPie } from "../parts/charts.js";
import { cellDetail } from "../parts/detail.js";
import { exportMenu } from "../parts/exports.js";
import { classFilter, gallery, passes } from "../parts/gallery.js";
import { intake } from "../parts/intake.js";
import { stillRefused } from "../parts/marks.js";
import { complain, say } from "../parts/toasts.js";

const FILES = ["cells.csv", "cells.json", "differential.json", "dataset.zip", "log.csv"];

export async function render(root, { signal, go, query }) {
  const state = { cells: [], filter: "", order: "number", open: query.get("cell") || "", names: new Map() };
  const head = h("div", { class: "page-head" }, h("div", {}, h("h1", {}, t("cell.title")), h("p", { class: "lead" }, t("cell.lead"))));
  const place = h("div", { class: "intake-place" });
  const body = h("div", { class: "cell-body" });
  root.append(head, place, body);
  const source = intake({ kind: "crops", signal, small: true, ondone: ids => load(ids) });
  place.append(source.element);

  async function load(fresh = []) {
    const [cells, images] = await Promise.all([cellsOf({ order: "number" }), imagesOf("crop")]);
    if (signal.aborted) return;
    state.names = new Map(images.map(image => [image.id, image]));
    state.cells = cells.filter(cell => cell.source === "crop");
    // Crops are numbered in the session, in the order in which they came.
    if (fresh.length) state.open = state.cells.find(cell => fresh.includes(cell.image))?.id || state.open;
    draw();
  }
  function shown() {
    const cells = state.cells.filter(cell => passes(cell, state.filter));
    return state.order === "doubt" ? cells.sort((a, b) => doubt(b) - doubt(a)) : cells;
  }
  let grid = null;
  const panel = h("section", { class: "card detail-card", "aria-live": "off" });

  function draw() {
    place.classList.toggle("first", !state.cells.length);
    source.element.classList.toggle("small", Boolean(state.cells.length));
    if (!state.cells.length) { show(body, emptyWords()); return; }
    if (!state.cells.some(cell => cell.id === state.open)) state.open = state.cells[0].id;
    const cells = shown();
    grid = gallery(cells, { open: each => { state.open = each.id; drawDetail(true); } });
    const order = h("select", { id: "order", on: { change: event => { state.order = event.target.value; draw(); } } },
      ["number", "doubt"].map(key => h("option", { value: key, selected: key === state.order }, t(`gallery.order_${key}`))));
    show(body, panel,
      h("section", { class: "card list-card" },
        h("div", { class: "card-head" }, h("h2", {}, t("cell.list", { n: state.cells.length })),
          h("div", { class: "row" }, h("label", { for: "order", class: "visually-hidden" }, t("gallery.order")), order, exportMenu(FILES))),
        classFilter(state.cells, state.filter, key => { state.filter = key; draw(); }),
        cells.length ? grid.element : h("p", { class: "muted" }, t("gallery.nothing"))),
      h("section", { class: "card" }, h("h2", {}, t("cell.together")), together()));
    grid.select(state.open);
    drawDetail(false);
  }
  function together() {
    const counts = {};
    for (const cell of state.cells) if (!stillRefused(cell)) counts[cell.class_now] = (counts[cell.class_now] || 0) + 1;
    const refused = state.cells.filter(stillRefused).length;
    return h("div", { class: "pie-and-bars wide" }, countPie(counts, t("cell.named")),
      h("div", {}, countBars(counts), refused ? h("p", { class: "row small" }, icon("refused", "caution"), t("cell.n_refused", { n: refused })) : null));
  }
  function drawDetail(jump) {
    const cell = state.cells.find(each => each.id === state.open);
    if (!cell) return;
    const image = state.names.get(cell.image);
    show(panel, h("p", { class: "file-name muted small" }, image?.name || ""),
      cellDetail(cell, { onchange: replace, actions: [
        button(t("cell.delete"), { icon: "trash", onclick: () => drop(image).catch(complain) }),
        button(t("cell.to_review"), { icon: "review", onclick: () => go(`/review?cell=${cell.id}`) })] }));
    if (jump && panel.getBoundingClientRect().top < 0) panel.scrollIntoView({ block: "start" });
    if (jump && matchMedia("(max-width: 60rem)").matches) panel.scrollIntoView({ block: "start" });
  }
  function replace(cell) {
    const at = state.cells.findIndex(each => each.id === cell.id);
    if (at >= 0) state.cells[at] = cell;
    draw();
    panel.querySelector("summary")?.focus();
  }
  async function drop(image) {
    if (!image) return;
    await forget(image);
    say(t("cell.deleted"));
    await load();
  }
  bus.addEventListener("cell", event => { if (!event.detail) load().catch(complain); }, { signal });
  if (work.sid) { show(body, skeleton()); await load(); } else draw();
}

function emptyWords() {
  return h("section", { class: "hints" }, ["what", "refuse", "why"].map(key => h("div", { class: "hint" },
    icon({ what: "cell", refuse: "refused", why: "heat" }[key]), h("h2", {}, t(`cell.hint_${key}_title`)), h("p", { class: "muted" }, t(`cell.hint_${key}`)))));
}

export function skeleton() {
  return h("div", { class: "card", "aria-busy": "true" }, h("span", { class: "visually-hidden" }, t("word.loading")),
    h("div", { class: "skeleton" }), h("div", { class: "skeleton tall" }), h("div", { class: "skeleton" }));
}

