/** Figures of a model: shares with intervals, the confusion matrix, and confidence against accuracy. */
import { h, s } from "../elements.js";
import { fixed, number, percent, t, tree } from "../words.js";
import { className } from "../work.js";
import { mark } from "./marks.js";

const UNIT = /error|mAP|absolute/;

/** The name of a figure in the language; figures that are new to the page keep the name that they have. */
export const figureName = figure => tree("figure")[figure] || figure;

function written(row) {
  if (typeof row.value !== "number") return "–";
  if (/in percent/.test(row.figure)) return `${fixed(row.value, 1)} %`;
  if (/absolute error/.test(row.figure)) return fixed(row.value, 2);
  return UNIT.test(row.figure) && /calibration/.test(row.figure) ? fixed(row.value, 4) : percent(row.value, 1);
}

function ends(row) {
  if (!row.interval) return "";
  const [low, high] = row.interval;
  if (/in percent/.test(row.figure)) return `${fixed(low, 1)}–${fixed(high, 1)}`;
  if (/absolute error/.test(row.figure)) return `${fixed(low, 2)}–${fixed(high, 2)}`;
  return `${fixed(100 * low, 1)}–${percent(high, 1)}`;
}

const isShare = row => typeof row.value === "number" && row.value >= 0 && row.value <= 1 && !/error|absolute/.test(row.figure);

/** The figures of one data set and split as a table with a strip for each share. */
export function figureTable(rows, label) {
  const plain = rows.filter(row => typeof row.value === "number");
  return h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": label }, h("table", { class: "table" },
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, t("models.figure")), h("th", { scope: "col", class: "number" }, t("models.value")),
      h("th", { scope: "col", class: "number" }, t("models.interval")), h("th", { scope: "col", class: "strip-cell" }, h("span", { class: "visually-hidden" }, t("differential.picture"))),
      h("th", { scope: "col", class: "number" }, "n"))),
    h("tbody", {}, plain.map(row => h("tr", {}, h("th", { scope: "row" }, figureName(row.figure)), h("td", { class: "number strong" }, written(row)),
      h("td", { class: "number" }, ends(row) || "–"),
      h("td", { class: "strip-cell" }, isShare(row) ? h("span", { class: "strip", "aria-hidden": "true" },
        row.interval ? h("span", { class: "strip-interval", vars: { "--from": 100 * row.interval[0], "--to": 100 * row.interval[1] } }) : null,
        h("span", { class: "strip-value", vars: { "--from": 100 * row.value } })) : null),
      h("td", { class: "number" }, number(row.n ?? 0)))))));
}

/** Rows are what a cell is, columns what the model says; the shade is the share of the row. */
export function confusionTable(row) {
  const { classes, value } = row;
  const label = t("models.confusion");
  return h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": label }, h("table", { class: "table confusion" },
    h("caption", { class: "small muted" }, t("models.confusion_how")),
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, t("models.is_says")), classes.map(key => h("th", { scope: "col", title: className(key) },
      mark(key), h("span", { class: "visually-hidden" }, className(key)))))),
    h("tbody", {}, value.map((counts, at) => {
      const sum = counts.reduce((all, n) => all + n, 0);
      return h("tr", { class: sum ? "" : "faint" }, h("th", { scope: "row" }, h("span", { class: "named" }, mark(classes[at]), className(classes[at]))),
        counts.map((n, to) => h("td", { class: `number ${at === to ? "right" : n ? "wrong" : ""}`, vars: { "--share": sum ? n / sum : 0 } }, n ? number(n) : "·")));
    }))));
}

const SIDE = 300, LEFT = 44, TOP = 10, BARS = 56, GAP = 12;

function axes(foot) {
  const ticks = [0, 0.2, 0.4, 0.6, 0.8, 1];
  const x = share => LEFT + share * SIDE, y = share => TOP + (1 - share) * SIDE;
  return [
    ...ticks.map(tick => s("path", { class: "grid", d: `M${x(tick)} ${y(0)}V${y(1)}M${x(0)} ${y(tick)}H${x(1)}` })),
    s("path", { class: "diagonal", d: `M${x(0)} ${y(0)}L${x(1)} ${y(1)}` }),
    ...ticks.map(tick => s("text", { class: "tick end", x: LEFT - 6, y: y(tick) + 4 }, fixed(tick, 1))),
    ...ticks.map(tick => s("text", { class: "tick middle", x: x(tick), y: foot + 14 }, fixed(tick, 1))),
    s("text", { class: "axis middle", x: x(0.5), y: foot + 32 }, t("models.confidence_axis")),
    s("text", { class: "axis middle", transform: `translate(11 ${y(0.5)}) rotate(-90)` }, t("models.accuracy_axis")),
  ];
}

/** Confidence to the right, the share that is right upward, with 95 % intervals; below, how many pictures a bin holds. */
export function reliabilityDiagram(bins) {
  const foot = TOP + SIDE + GAP + BARS;
  const x = share => LEFT + share * SIDE, y = share => TOP + (1 - share) * SIDE;
  const low = bin => (Array.isArray(bin.interval) ? bin.interval[0] : bin.interval?.low ?? bin.accuracy);
  const high = bin => (Array.isArray(bin.interval) ? bin.interval[1] : bin.interval?.high ?? bin.accuracy);
  const most = Math.max(...bins.map(bin => bin.n));
  const svg = s("svg", { class: "reliability", viewBox: `0 0 ${LEFT + SIDE + 12} ${foot + 40}`, role: "img", "aria-label": t("models.reliability_label") }, axes(foot));
  for (const bin of bins) {
    const promises = high(bin) < bin.confidence;
    const height = BARS * Math.sqrt(bin.n / most);
    svg.append(
      s("rect", { class: "bin", x: x(bin.low) + 1, y: foot - height, width: Math.max(1, x(bin.high) - x(bin.low) - 2), height },
        s("title", {}, number(bin.n))),
      s("path", { class: `whisker ${promises ? "too-sure" : ""}`, d: `M${x(bin.confidence)} ${y(low(bin))}V${y(high(bin))}` }),
      promises ? s("path", { class: "dot too-sure", d: `M${x(bin.confidence)} ${y(bin.accuracy) - 5.5}l5.5 5.5-5.5 5.5-5.5-5.500z` })
        : s("circle", { class: "dot", cx: x(bin.confidence), cy: y(bin.accuracy), r: 4.5 }));
  }
  return svg;
}
