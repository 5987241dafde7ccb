/** The models: what each knows, how good it is at home and abroad, whether its probabilities are honest, its card. */
import { button, h, icon, show } from "../elements.js";
import { fixed, locale, number, percent, sentence, t, tree } from "../words.js";
import { chosenDetector, chosenModel, chooseModel } from "../work.js";
import { get } from "../server.js";
import { confusionTable, figureName, figureTable, reliabilityDiagram } from "../parts/figures.js";
import { markdown } from "../parts/markdown.js";
import { named } from "../parts/marks.js";
import { say } from "../parts/toasts.js";
import { skeleton } from "./cell.js";

const MEGABYTE = 2 ** 20;
const ATTRIBUTES = "wbcatt";
const ACCURACY = "accuracy of ";
/** Notes whose words stand above the figures anyway. */
const SAID = /^chosen on this split$|^another laboratory, no picture/;

export async function render(root, { signal, query }) {
  root.append(h("div", { class: "page-head" }, h("div", {}, h("h1", {}, t("models.title")), h("p", { class: "lead" }, t("models.lead")))));
  const body = h("div", { class: "models-body" }, skeleton());
  root.append(body);
  const { models, default: first, detector } = await get("/v1/models", signal);
  if (signal.aborted) return;
  const defaults = { classification: first, detection: detector || models.find(row => row.task === "detection")?.name };
  const inUse = row => ((row.task === "detection" ? chosenDetector() : chosenModel()) || defaults[row.task]) === row.name;
  for (const task of ["classification", "detection"]) {
    const name = task === "detection" ? chosenDetector() : chosenModel();
    if (name && !models.some(row => row.task === task && row.name === name)) chooseModel(task, "");
  }
  let open = models.find(row => row.name === query.get("model")) || models.find(row => row.task === "classification" && inUse(row)) || models[0];
  const list = h("ul", { class: "model-list" });
  const card = h("div", { class: "model-detail" });
  show(body, list, card);

  function draw() {
    show(list, models.map(row => h("li", {}, h("button", { type: "button", class: "model-row", "aria-current": row === open ? "true" : null,
      on: { click: () => { open = row; history.replaceState(null, "", `/models?model=${encodeURIComponent(row.name)}`); draw(); } } },
    h("span", { class: "strong" }, row.name), h("span", { class: "muted small" }, t(`models.task_${row.task}`)),
    inUse(row) ? h("span", { class: "seen small" }, icon("check", "good"), t("models.in_use")) : null))));
    show(card, detail(open));
  }
  function use(row) {
    chooseModel(row.task, row.name === defaults[row.task] ? "" : row.name);
    say(t("models.chosen", { name: row.name }));
    draw();
    card.querySelector("h2")?.focus();
  }
  function detail(row) {
    const facts = [
      ["version", row.version], ["parameters", row.parameters ? number(row.parameters) : ""],
      ["size", row.size_bytes ? `${fixed(row.size_bytes / MEGABYTE)} MB` : ""], ["input", row.input_px ? `${number(row.input_px)} px` : ""],
      ["licence", row.licence],
    ].filter(([, value]) => value);
    return [
      h("section", { class: "card" }, h("div", { class: "card-head" }, h("h2", { tabindex: "-1" }, row.name),
        inUse(row) ? h("span", { class: "seen" }, icon("check", "good"), t("models.in_use"))
          : button(t("models.use"), { kind: "primary", icon: "check", onclick: () => use(row) })),
      h("p", {}, t(`models.does_${row.task}`)),
      h("ul", { class: "chips" }, row.classes.map(key => h("li", { class: "chip" }, named(key)))),
      h("dl", { class: "facts" }, facts.map(([key, value]) => h("div", {}, h("dt", {}, t(`models.fact_${key}`)), h("dd", {}, value)))),
      h("h3", {}, t("models.learned")), h("ul", { class: "plain-list small" }, (row.trained_on || []).map(data => h("li", {},
        h("strong", {}, data.dataset), ` (${data.split}), n = ${number(data.n ?? 0)}; ${data.licence || ""}`, data.citation ? h("span", { class: "muted", lang: "en" }, ` ${data.citation}`) : null)))),
      ...measured(row), reliability(row), attributes(row),
      h("section", { class: "card prose" }, h("details", { class: "fold" }, h("summary", {}, t("models.card")),
        locale() === "en" ? null : h("p", { class: "muted small" }, t("models.card_english")),
        h("div", { lang: "en" }, row.card ? markdown(row.card, { label: t("models.card") }) : h("p", { class: "muted" }, "–")))),
    ];
  }
  draw();
}

/** Figures grouped by data set and split: those that were kept for the end first, those used for choosing last. */
function measured(row) {
  const home = new Set((row.trained_on || []).map(data => data.dataset));
  const groups = new Map();
  for (const figure of (row.metrics || []).filter(each => each.dataset !== ATTRIBUTES)) {
    const key = `${figure.dataset}\n${figure.split}`;
    groups.set(key, [...(groups.get(key) || []), figure]);
  }
  const kindOf = rows => (rows.some(figure => /chosen on this split/.test(figure.note)) ? "chosen" : home.has(rows[0].dataset) ? "home" : "abroad");
  const order = ["home", "abroad", "chosen"];
  const sorted = [...groups.values()].sort((a, b) => order.indexOf(kindOf(a)) - order.indexOf(kindOf(b)));
  if (!sorted.length) return [h("section", { class: "card" }, h("h2", {}, t("models.figures")), h("p", { class: "muted" }, t("models.no_figures")))];
  return [h("div", { class: "measured" }, sorted.map(rows => block(rows, kindOf(rows))))];
}

function block(rows, kind) {
  const { dataset, split } = rows[0];
  const headline = rows.find(figure => figure.figure === "balanced accuracy") || rows.find(figure => figure.figure === "mAP50");
  const confusion = rows.find(figure => figure.figure === "confusion matrix" && figure.classes);
  const notes = [...new Set(rows.flatMap(figure => (figure.note || "").split("; ")).filter(note => note && !SAID.test(note)))];
  const title = `${tree("dataset")[dataset] || dataset} · ${tree("split")[split] || split}`;
  return h("section", { class: `card measured-${kind}` },
    h("p", { class: "badge" }, t(`models.kind_${kind}`)), h("h3", {}, title),
    headline ? h("p", { class: "headline" }, h("span", { class: "headline-number" }, percent(headline.value, 1)), " ", figureName(headline.figure)) : null,
    h("p", { class: "muted small" }, t(`models.means_${kind}`)),
    notes.length ? h("p", { class: "muted small" }, notes.map(sentence).join("; ")) : null,
    figureTable(rows, title), confusion ? h("details", { class: "fold" }, h("summary", {}, t("models.confusion")), confusionTable(confusion)) : null);
}

/** How well each attribute is read off, beside what always saying the most frequent value would give. */
function attributes(row) {
  const found = (row.metrics || []).filter(figure => figure.dataset === ATTRIBUTES && figure.figure.startsWith(ACCURACY));
  if (!found.length) return null;
  const lines = new Map();
  for (const figure of found) {
    const key = figure.figure.slice(ACCURACY.length);
    lines.set(key, { ...(lines.get(key) || {}), [figure.split === "test" ? "all" : "unseen"]: figure });
  }
  const most = figure => Number(/majority ([\d.]+)/.exec(figure?.note || "")?.[1]);
  const cell = value => h("td", { class: "number" }, Number.isFinite(value) ? percent(value, 1) : "–");
  const label = t("models.attributes");
  const head = ["all", "unseen", "majority"].map(key => h("th", { scope: "col", class: "number" }, t(`models.attributes_${key}`)));
  return h("section", { class: "card" }, h("h2", {}, label), h("p", { class: "muted small" }, t("models.attributes_how")),
    h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": label }, h("table", { class: "table" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, t("cell.attributes")), head)),
      h("tbody", {}, [...lines].map(([key, figures]) => h("tr", {}, h("th", { scope: "row" }, tree("attribute.name")[key] || key.replaceAll("_", " ")),
        cell(figures.all?.value), cell(figures.unseen?.value), cell(most(figures.all))))))));
}

function reliability(row) {
  const sets = (row.reliability || []).map(each => ({ ...each, bins: each.bins || each.value || [] })).filter(each => each.bins.length);
  if (row.task === "detection") return null;
  return h("section", { class: "card" }, h("h2", {}, t("models.reliability")), h("p", { class: "muted small" }, t("models.reliability_how")),
    sets.length ? h("div", { class: "reliability-row" }, sets.map(each => h("figure", {}, reliabilityDiagram(each.bins),
      h("figcaption", { class: "small" }, `${tree("dataset")[each.dataset] || each.dataset} · ${tree("split")[each.split] || each.split}`))))
      : h("p", { class: "muted row" }, icon("about"), h("span", {}, t("models.no_reliability"))));
}
