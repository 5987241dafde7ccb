/** A grid of crops: arrow keys move in it, Enter or a click opens, and with `many` Space chooses several. */
import { h, icon } from "../elements.js";
import { percent, t } from "../words.js";
import { className, cropUrl } from "../work.js";
import { altOf } from "./heat.js";
import { colorOf, mark, stillRefused } from "./marks.js";

const AT_ONCE = 240;

function tile(cell) {
  const name = cell.class_now || cell.class;
  const refused = stillRefused(cell);
  const words = refused ? t("cell.refused") : className(name);
  const sure = cell.label ? null : cell.confidence;
  return h("button", {
    type: "button", class: `tile ${refused ? "refused" : ""}`, tabindex: "-1", data: { id: cell.id },
    vars: { "--c": colorOf(name) }, title: words, "aria-label": `${altOf(cell)}${cell.reviewed ? `, ${t("cell.reviewed")}` : ""}`,
  }, h("img", { src: cropUrl(cell, 96), alt: "", loading: "lazy", decoding: "async", width: 96, height: 96 }),
  h("span", { class: "tile-words" }, refused ? icon("refused", "caution") : mark(name), h("span", { class: "tile-name" }, words)),
  h("span", { class: "tile-small" }, h("span", {}, `${cell.number}`),
    cell.reviewed ? icon("check", "good") : h("span", {}, sure === null || sure === undefined ? "" : percent(sure, 0))));
}

/**
 * Make a gallery of cells.
 * Returns the element, `select(id)` to mark the open one, and `replace(cell)` after a change.
 */
export function gallery(cells, { open, label = t("gallery.label") } = {}) {
  const grid = h("div", { class: "gallery", role: "group", "aria-label": label });
  const byId = new Map(cells.map(cell => [cell.id, cell]));
  let shown = 0;
  const more = h("button", { type: "button", class: "button", on: { click: () => add() } });

  function add() {
    const part = cells.slice(shown, shown + AT_ONCE);
    grid.append(...part.map(tile));
    shown += part.length;
    more.hidden = shown >= cells.length;
    more.textContent = t("gallery.more", { n: cells.length - shown });
  }
  const tiles = () => [...grid.children];
  function focus(place) {
    const all = tiles();
    const next = all[Math.max(0, Math.min(all.length - 1, place))];
    if (!next) return;
    for (const each of all) each.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }
  function columns() {
    const all = tiles();
    const top = all[0]?.offsetTop;
    const count = all.findIndex(each => each.offsetTop !== top);
    return count < 0 ? all.length : count;
  }
  grid.addEventListener("click", event => {
    const hit = event.target.closest(".tile");
    if (!hit) return;
    select(hit.dataset.id);
    open?.(byId.get(hit.dataset.id));
  });
  grid.addEventListener("keydown", event => {
    const place = tiles().indexOf(document.activeElement);
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns(), ArrowUp: -columns() }[event.key];
    if (step) focus(place + step);
    else if (event.key === "Home") focus(0);
    else if (event.key === "End") focus(cells.length);
    else return;
    event.preventDefault();
  });
  function select(id) {
    for (const each of tiles()) {
      const on = each.dataset.id === id;
      if (on) each.setAttribute("aria-current", "true"); else each.removeAttribute("aria-current");
      each.tabIndex = on ? 0 : -1;
    }
    if (!grid.querySelector("[tabindex='0']") && grid.firstChild) grid.firstChild.tabIndex = 0;
  }
  function replace(cell) {
    const old = grid.querySelector(`[data-id="${CSS.escape(cell.id)}"]`);
    const place = cells.findIndex(each => each.id === cell.id);
    if (place >= 0) cells[place] = cell;
    byId.set(cell.id, cell);
    if (!old) return;
    const fresh = tile(cell);
    fresh.tabIndex = old.tabIndex;
    if (old.hasAttribute("aria-current")) fresh.setAttribute("aria-current", "true");
    const focused = old === document.activeElement;
    old.replaceWith(fresh);
    if (focused) fresh.focus();
  }
  add();
  if (grid.firstChild) grid.firstChild.tabIndex = 0;
  return { element: h("div", { class: "gallery-box" }, grid, more), select, replace, focus };
}

/** Chips that filter by class: `all`, each class with its number, and what was refused. */
export function classFilter(cells, current, choose) {
  const counts = new Map();
  let refused = 0;
  for (const cell of cells) {
    if (stillRefused(cell)) refused += 1;
    else counts.set(cell.class_now || cell.class, (counts.get(cell.class_now || cell.class) || 0) + 1);
  }
  const chip = (key, words, n, sign) => h("button", { type: "button", class: "chip", "aria-pressed": current === key,
    on: { click: () => choose(key) } }, sign, h("span", {}, words), h("span", { class: "count" }, String(n)));
  const keys = [...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a));
  return h("div", { class: "chips filter", role: "group", "aria-label": t("gallery.filter") },
    chip("", t("gallery.all"), cells.length, null),
    keys.map(key => chip(key, className(key), counts.get(key), mark(key))),
    refused ? chip("refused", t("cell.refused"), refused, icon("refused", "caution")) : null);
}

/** Whether a cell passes a filter of `classFilter`. */
export function passes(cell, key) {
  if (!key) return true;
  return key === "refused" ? stillRefused(cell) : !stillRefused(cell) && (cell.class_now || cell.class) === key;
}
