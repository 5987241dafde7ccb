/** All that is known of one cell: name, refusal, prediction set, pie and bars, heat map, attributes, and relabeling. */
import { button, h, icon } from "../elements.js";
import { moment, percent, sentence, t, tree } from "../words.js";
import { className, confirm, FINER, inOrder, label, LABEL_ORDER, NOT_A_CELL, work } from "../work.js";
import { probabilityBars, probabilityPie } from "./charts.js";
import { heatView } from "./heat.js";
import { mark, named, stillRefused } from "./marks.js";
import { complain } from "./toasts.js";

/** What stands of a cell in large letters; of a refused one the reasons, and which class it is nearest to. */
export function verdict(cell, next = t("cell.refused_next")) {
  const name = cell.class_now || cell.class;
  const sure = cell.confidence === null || cell.confidence === undefined ? null
    : h("p", { class: "muted" }, t("cell.sure", { share: percent(cell.confidence) }));
  if (stillRefused(cell)) {
    return h("div", { class: "verdict refused", role: "status" },
      h("h2", { class: "verdict-name" }, icon("refused"), h("span", {}, t("cell.refused"))),
      h("ul", { class: "reasons" }, cell.reason.split("; ").map(part => h("li", {}, sentence(part)))),
      cell.class ? h("p", { class: "named" }, t("cell.nearest"), " ", named(cell.class), " ",
        cell.confidence === null ? "" : h("span", {}, `(${percent(cell.confidence)})`)) : null,
      next ? h("p", { class: "small" }, next) : null);
  }
  return h("div", { class: "verdict", role: "status" },
    h("h2", { class: "verdict-name" }, mark(name), h("span", {}, className(name))),
    cell.label ? labelLine(cell) : sure);
}

function labelLine(cell) {
  const { label: said } = cell;
  const same = said.class === cell.class && !cell.refused;
  return h("p", { class: "muted" },
    t(same ? "cell.confirmed_by" : "cell.labeled_by", { who: said.who, when: moment(said.when) }), " ",
    same ? "" : t(cell.refused ? "cell.model_refused" : "cell.model_said", { name: className(cell.class) }));
}

function setLine(cell) {
  if (!cell.set?.length) return null;
  return h("div", { class: "fact" }, h("h3", {}, t("cell.set")),
    h("ul", { class: "chips" }, inOrder(cell.set).map(key => h("li", { class: "chip" }, named(key)))),
    h("p", { class: "muted small" }, cell.refused ? t("cell.set_refused") : t("cell.set_means", { n: cell.set.length })));
}

function attributes(cell) {
  if (!cell.attributes?.length) return null;
  const nameOf = row => tree("attribute.name")[row.name] || String(row.name).replaceAll("_", " ");
  const valueOf = row => tree("attribute.value")[row.name]?.[row.value] || String(row.value);
  return h("div", { class: "fact" }, h("h3", {}, t("cell.attributes")),
    h("dl", { class: "pairs" }, cell.attributes.map(row => [
      h("dt", {}, nameOf(row)),
      h("dd", {}, valueOf(row),
        row.confidence === null || row.confidence === undefined ? "" : h("span", { class: "muted" }, ` ${percent(row.confidence, 0)}`)),
    ])));
}

function remarks(cell) {
  const lines = [...(cell.notes || []).map(sentence)];
  if (cell.on_border) lines.push(t("cell.on_border"));
  if (cell.touching) lines.push(t("cell.touching"));
  if (cell.clump) lines.push(t("cell.clump", { n: cell.clump }));
  return lines.length ? h("ul", { class: "notes small" }, lines.map(text => h("li", {}, text))) : null;
}

/** The keys of the classes that a person can choose, finer ones when asked for. */
export const choices = ({ finer = false } = {}) => {
  const known = new Set(work.classes.map(row => row.key));
  return [...LABEL_ORDER, ...(finer ? FINER : [])].filter(key => known.has(key)).concat(NOT_A_CELL);
};

/** Buttons that name the cell; `keys` shows the key of each. */
export function labelButtons(cell, choose, { keys = false, finer = false } = {}) {
  const now = cell.class_now || cell.class;
  return h("div", { class: "label-buttons", role: "group", "aria-label": t("review.choose") },
    choices({ finer }).map(key => {
      const place = LABEL_ORDER.indexOf(key);
      const stroke = key === NOT_A_CELL ? "0" : place >= 0 ? String(place + 1) : "";
      return h("button", { type: "button", class: "button label-button", "aria-pressed": now === key && !stillRefused(cell),
        "aria-keyshortcuts": keys && stroke ? stroke : null, on: { click: () => choose(key) } },
      mark(key), h("span", {}, className(key)), keys && stroke ? h("kbd", {}, stroke) : null);
    }));
}

function relabel(cell, tellChange) {
  const act = async run => {
    try { tellChange(await run()); } catch (error) { complain(error); }
  };
  return h("details", { class: "fold" },
    h("summary", {}, t("cell.relabel")),
    labelButtons(cell, key => act(() => label(cell, key)), { finer: true }),
    button(t("review.confirm"), { icon: "check", onclick: () => act(() => confirm(cell)) }));
}

/**
 * Everything about one cell.
 * `onchange(cell)` is called after a label; `heatPx` is the side of the picture; `actions` are buttons to put below.
 */
export function cellDetail(cell, { onchange = () => {}, heatPx = 320, actions = [] } = {}) {
  const chart = cell.probabilities ? h("div", { class: "fact" }, h("h3", {}, t("cell.probabilities")),
    h("div", { class: "pie-and-bars" }, probabilityPie(cell), probabilityBars(cell))) : null;
  return h("article", { class: "detail", "aria-label": t("cell.number", { n: cell.number }) },
    h("div", { class: "detail-picture" }, heatView(cell, heatPx), remarks(cell)),
    h("div", { class: "detail-words" }, verdict(cell), setLine(cell), chart, attributes(cell),
      cell.probabilities ? null : h("p", { class: "muted small" }, t("cell.not_asked")),
      relabel(cell, onchange), actions.length ? h("div", { class: "row" }, actions) : null));
}
