/** Review: one cell after the other, the most doubtful first; a key or a click says what it is. */
import { button, h, icon, show } from "../elements.js";
import { moment, number, t } from "../words.js";
import {
  bus, cellsOf, className, confirm, doubt, imagesOf, label, labelMany, LABEL_ORDER, namedCells, NOT_A_CELL, path, refreshSession,
  summary, undo, who, work,
} from "../work.js";
import { remember, remembered } from "../memory.js";
import { get, send } from "../server.js";
import { probabilityBars, probabilityPie } from "../parts/charts.js";
import { choices, labelButtons, verdict } from "../parts/detail.js";
import { differentialTable } from "../parts/differential.js";
import { exportMenu } from "../parts/exports.js";
import { heatView } from "../parts/heat.js";
import { complain, say } from "../parts/toasts.js";
import { takeChosen } from "../parts/chosen.js";
import { skeleton } from "./cell.js";

const FILES = ["dataset.zip", "log.csv", "cells.csv", "cells.json", "differential.json", "report.html"];
const SCOPES = ["doubtful", "leukocytes", "refused", "everything"];

function within(cell, scope) {
  if (scope === "everything") return true;
  if (scope === "refused") return cell.refused;
  if (scope === "leukocytes") return cell.kind !== "erythrocyte" && cell.kind !== "platelet";
  return cell.kind !== "erythrocyte";
}

/** A session was marked as reviewed, or no longer so. */
const kindOf = entry => (entry.what === "reviewed" && entry.to !== "reviewed" ? "unreviewed" : entry.what);

export async function render(root, { signal, go, query }) {
  const state = { cells: [], images: new Map(), queue: [], at: 0, scope: remembered("scope") || "doubtful", chosen: takeChosen(), finer: false, busy: false };
  const main = h("section", { class: "card review-card" });
  const side = h("div", { class: "review-side" });
  const diff = h("section", { class: "card" });
  const log = h("section", { class: "card" });
  const head = h("div", { class: "page-head" }, h("div", {}, h("h1", {}, t("review.title")), h("p", { class: "lead" }, t("review.lead"))));
  root.append(head);
  if (!work.sid) { root.append(nothing(go)); return; }
  const body = h("div", { class: "review-body" }, skeleton());
  root.append(body);

  async function load() {
    const [cells, images] = await Promise.all([cellsToReview(), imagesOf()]);
    if (signal.aborted) return;
    state.cells = cells;
    state.images = new Map(images.map(image => [image.id, image]));
    if (!cells.length) { show(body, nothing(go)); return; }
    side.append(diff, log);
    show(body, main, side);
    queueUp(state.begun ? "" : query.get("cell"));
    state.begun = true;
    draw();
    await follow();
  }
  /** Erythrocytes come only where all cells, or one of them, are asked for. */
  async function cellsToReview() {
    const wanted = query.get("cell");
    const cells = state.scope === "everything" && !state.chosen ? await cellsOf({ order: "number" }) : await namedCells();
    if (wanted && !cells.some(cell => cell.id === wanted)) cells.push(await get(`/v1/cells/${encodeURIComponent(wanted)}`));
    return cells;
  }
  function queueUp(first) {
    const picked = state.chosen ? state.cells.filter(cell => state.chosen.has(cell.id)) : state.cells.filter(cell => within(cell, state.scope));
    state.queue = picked.sort((a, b) => doubt(b) - doubt(a)).map(cell => cell.id);
    if (first && !state.queue.includes(first)) state.queue.unshift(first);
    const open = state.queue.findIndex(id => !find(id).reviewed);
    state.at = first ? state.queue.indexOf(first) : open < 0 ? state.queue.length : open;
  }
  const find = id => state.cells.find(cell => cell.id === id);
  const now = () => find(state.queue[state.at]);

  async function follow() {
    const [values, { entries }] = await Promise.all([summary(), get(path("log"))]);
    if (signal.aborted) return;
    show(diff, h("h2", {}, t("differential.title")), differentialTable(values.differential, { compact: true }));
    show(log, h("details", { class: "fold", open: remembered("log") === "open", on: { toggle: event => remember("log", event.target.open ? "open" : "") } },
      h("summary", {}, t("review.log", { n: entries.length })), logList(entries)));
  }
  function logList(entries) {
    if (!entries.length) return h("p", { class: "muted small" }, t("review.log_empty"));
    return h("ol", { class: "log", reversed: true }, [...entries].reverse().slice(0, 100).map(entry => h("li", {},
      h("span", {}, t(`log.${kindOf(entry)}`, { from: entry.from ? className(entry.from) : "–", to: entry.to ? className(entry.to) : "–",
        cell: numberOf(entry.cell) })),
      h("span", { class: "muted small" }, `${entry.who || "–"} · ${moment(entry.when)}`))));
  }
  const numberOf = id => { const cell = find(id); return cell ? whereOf(cell) : "–"; };
  function whereOf(cell) {
    const image = state.images.get(cell.image);
    return cell.source === "crop" ? image?.name || t("cell.number", { n: cell.number }) : `${image?.name || ""} ${t("cell.number", { n: cell.number })}`;
  }

  function bar() {
    const seen = state.queue.filter(id => find(id).reviewed).length;
    const scope = h("select", { id: "scope", on: { change: event => {
      if (event.target.value !== "chosen") { state.chosen = null; state.scope = event.target.value; remember("scope", state.scope); }
      load().catch(complain);
    } } }, state.chosen ? h("option", { value: "chosen", selected: true }, t("review.scope_chosen", { n: state.chosen.size })) : null,
    SCOPES.map(key => h("option", { value: key, selected: !state.chosen && key === state.scope }, t(`review.scope_${key}`))));
    return h("div", { class: "review-bar" },
      h("div", { class: "pair" }, h("label", { for: "scope" }, t("review.scope")), scope),
      h("div", { class: "review-progress" }, h("progress", { max: state.queue.length || 1, value: seen, "aria-label": t("review.progress") }),
        h("span", { class: "small" }, t("review.done_of", { done: number(seen), all: number(state.queue.length) }))),
      h("div", { class: "row" }, button(t("review.undo"), { icon: "undo", onclick: () => act(takeBack), "aria-keyshortcuts": "u" }), exportMenu(FILES)));
  }
  function draw() {
    const cell = now();
    show(main, bar(), cell ? one(cell) : finished(), foot());
    if (cell) preload();
  }
  function preload() {
    const next = find(state.queue[state.at + 1]);
    if (next) new Image().src = `/v1/cells/${next.id}/crop.png?px=320`;
  }
  function one(cell) {
    return h("div", { class: "review-one" },
      h("div", { class: "review-picture" }, heatView(cell, 320), h("p", { class: "small muted center" }, whereOf(cell)),
        cell.source === "field" ? h("p", { class: "center" }, h("a", { href: `/field?image=${cell.image}&cell=${cell.id}`, "data-go": "" }, t("review.in_field"))) : null),
      h("div", { class: "review-words" },
        h("div", {}, h("p", { class: "muted small row" }, t(cell.label ? "review.label_now" : "review.model_says"),
          cell.reviewed ? h("span", { class: "seen" }, icon("check", "good"), t("cell.reviewed")) : null), verdict(cell, "")),
        cell.probabilities ? h("div", { class: "pie-and-bars" }, probabilityPie(cell), probabilityBars(cell)) : null,
        labelButtons(cell, key => act(() => label(cell, key)), { keys: true, finer: state.finer }),
        h("div", { class: "row" },
          button(t("review.confirm"), { icon: "check", kind: "primary", onclick: () => act(() => confirm(cell)), "aria-keyshortcuts": "Enter" }),
          button(t("review.back"), { icon: "back", onclick: () => step(-1), disabled: state.at === 0, "aria-keyshortcuts": "b" }),
          button(t("review.skip"), { icon: "skip", onclick: () => step(1), "aria-keyshortcuts": "s" }),
          h("label", { class: "check" }, h("input", { type: "checkbox", checked: state.finer, on: { change: event => { state.finer = event.target.checked; draw(); } } }), t("review.finer")))));
  }
  function finished() {
    return h("div", { class: "empty" }, icon("check", "huge good"), h("h2", {}, t(state.queue.length ? "review.all_seen" : "review.none_here")),
      h("p", { class: "muted" }, t("review.all_seen_next")),
      state.queue.length ? h("div", { class: "row center" }, button(t("review.again"), { icon: "back", onclick: () => { state.at = 0; draw(); } })) : null);
  }
  function foot() {
    const name = h("input", { type: "text", id: "who", value: remembered("who"), autocomplete: "name", maxlength: "80", on: { input: event => remember("who", event.target.value.trim()) } });
    const done = Boolean(work.session?.reviewed);
    return h("div", { class: "review-foot" },
      h("div", { class: "pair" }, h("label", { for: "who" }, t("review.who")), name),
      state.chosen?.size > 1 ? allAtOnce() : null,
      h("label", { class: "check strong" }, h("input", { type: "checkbox", checked: done, on: { change: event => reviewed(event.target.checked) } }), t("review.session_done")));
  }
  function allAtOnce() {
    const choose = h("select", { id: "all-as" }, choices({ finer: true }).map(key => h("option", { value: key }, className(key))));
    return h("div", { class: "pair" }, h("label", { for: "all-as" }, t("review.all_as", { n: state.chosen.size })), choose,
      button(t("review.all_do"), { kind: "small", onclick: () => many(choose.value) }));
  }
  async function many(key) {
    try {
      await labelMany([...state.chosen].map(id => ({ id })), key);
      say(t("review.all_done", { n: state.chosen.size, name: className(key) }));
    } catch (error) { complain(error); }
  }
  async function reviewed(on) {
    try {
      await send("PATCH", `/v1/sessions/${work.sid}`, { reviewed: on, who: who() });
      await refreshSession();
      say(t(on ? "review.session_marked" : "review.session_open"));
      await follow();
    } catch (error) { complain(error); }
  }
  function step(by) {
    state.at = Math.max(0, Math.min(state.queue.length, state.at + by));
    draw();
  }
  async function act(run) {
    if (state.busy) return;
    state.busy = true;
    try {
      const cell = await run();
      if (cell) { put(cell); step(1); }
      await follow();
    } catch (error) { complain(error); } finally { state.busy = false; }
  }
  function put(cell) {
    const at = state.cells.findIndex(each => each.id === cell.id);
    if (at >= 0) state.cells[at] = cell; else state.cells.push(cell);
  }
  async function takeBack() {
    const { undone, cell } = await undo();
    if (!undone) { say(t("review.nothing_to_undo")); return null; }
    if (cell) {
      put(cell);
      const place = state.queue.indexOf(cell.id);
      if (place >= 0) state.at = place; else { state.queue.unshift(cell.id); state.at = 0; }
    }
    draw();
    say(t("review.undone"));
    return null;
  }
  function key(event) {
    if (event.altKey || document.querySelector("dialog[open]") || event.target.closest?.("input:not([type=checkbox]):not([type=range]), select, textarea")) return;
    const undoes = event.key === "u" || ((event.ctrlKey || event.metaKey) && event.key === "z");
    if ((event.ctrlKey || event.metaKey) && !undoes) return;
    const cell = now(), pressed = event.target.closest?.("button, a, summary");
    if (undoes) act(takeBack);
    else if (!cell) { if (event.key === "b") step(-1); else return; }
    else if (/^[1-9]$/.test(event.key)) act(() => label(cell, LABEL_ORDER[event.key - 1]));
    else if (event.key === "0") act(() => label(cell, NOT_A_CELL));
    else if (event.key === "Enter" && !pressed) act(() => confirm(cell));
    else if (event.key === "s") step(1);
    else if (event.key === "b") step(-1);
    else return;
    event.preventDefault();
  }
  window.addEventListener("keydown", key, { signal });
  bus.addEventListener("cell", event => { if (!event.detail) load().catch(complain); }, { signal });
  await load();
}

function nothing(go) {
  return h("section", { class: "empty card" }, icon("review", "huge"), h("h2", {}, t("review.empty")), h("p", { class: "muted" }, t("review.empty_next")),
    h("div", { class: "row center" }, button(t("nav.cell"), { icon: "cell", onclick: () => go("/cell") }), button(t("nav.field"), { icon: "field", onclick: () => go("/field") })));
}

