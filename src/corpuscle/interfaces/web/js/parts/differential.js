/** The leukocyte differential as a table, with intervals, what is usual, and what to look at again. */
import { h, icon } from "../elements.js";
import { fixed, number, sentence, t } from "../words.js";
import { inOrder } from "../work.js";
import { range, strip } from "./charts.js";
import { named } from "./marks.js";

/** Below this many leukocytes it says nothing that no erythroblast was found. */
const ENOUGH = 100;

function flag(row) {
  if (row.flag === "low" || row.flag === "high") {
    return h("span", { class: "flag" }, row.flag === "low" ? "↓ " : "↑ ", t(`differential.${row.flag}`));
  }
  return row.flag === "unsure" ? h("span", { class: "muted small unsure" }, t("differential.unsure")) : null;
}

function line(row) {
  return h("tr", {},
    h("th", { scope: "row" }, named(row.class)),
    h("td", { class: "number" }, number(row.n)),
    h("td", { class: "number strong" }, row.percent === null ? "–" : fixed(row.percent)),
    h("td", { class: "number" }, row.interval ? range(row.interval.low, row.interval.high) : "–"),
    h("td", { class: "strip-cell" }, strip(row)),
    h("td", { class: "usual" }, row.reference ? `${number(row.reference.low)}–${number(row.reference.high)} ` : "", flag(row)));
}

function heads() {
  const head = (key, kind = "") => h("th", { scope: "col", class: kind }, key ? t(`differential.${key}`) : "");
  return h("tr", {}, head("class"), head("n", "number"), head("percent", "number"), head("interval", "number"),
    h("th", { scope: "col", class: "strip-cell" }, h("span", { class: "visually-hidden" }, t("differential.picture"))),
    head("usual"));
}

function beside(differential) {
  const rare = differential.erythroblasts;
  const lines = [];
  if (rare && rare.per_100_leukocytes !== null && (rare.n || differential.n >= ENOUGH)) {
    const ends = rare.interval;
    lines.push(t("differential.erythroblasts", { n: rare.n, rate: fixed(rare.per_100_leukocytes),
      ends: ends ? range(ends.low, ends.high) : "–" }));
  }
  lines.push(t("differential.counted", { n: differential.n }));
  const out = [["refused", differential.refused], ["on_border", differential.on_border], ["unnamed", differential.unnamed]]
    .filter(([, n]) => n).map(([key, n]) => t(`differential.out_${key}`, { n }));
  if (out.length) lines.push(t("differential.left_out", { what: out.join("; ") }));
  lines.push(t("differential.method", { method: sentence(differential.interval_method) }));
  return h("ul", { class: "notes muted small" }, lines.map(text => h("li", {}, text)));
}

/** The whole differential; `compact` leaves the strip and the lines below out. */
export function differentialTable(differential, { compact = false } = {}) {
  const order = inOrder(differential.classes.map(row => row.class));
  const rows = order.map(key => differential.classes.find(row => row.class === key));
  const words = [differential.warning, differential.note].filter(Boolean);
  return h("div", { class: `differential ${compact ? "compact" : ""}` },
    words.map(text => h("p", { class: "notice caution" }, icon("warn"), h("span", {}, sentence(text)))),
    h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": t("differential.title") },
      h("table", { class: "table" }, h("caption", { class: "visually-hidden" }, t("differential.title")),
        h("thead", {}, heads()), h("tbody", {}, rows.map(line)))),
    compact ? null : beside(differential));
}

/** What a hematologist would look at again; `open(cells)` is called with the cells behind a finding. */
export function findingList(findings, open) {
  if (!findings?.length) return h("p", { class: "muted" }, t("findings.none"));
  return h("div", {}, h("ul", { class: "findings" }, findings.map(finding => h("li", {},
    h("p", {}, sentence(finding.text)),
    finding.cells?.length && open ? h("button", { type: "button", class: "button small", on: { click: () => open(finding.cells) } },
      t("findings.open", { n: finding.cells.length })) : null))),
  h("p", { class: "muted small" }, t("findings.suggestion")));
}
