/** Pie and bars of probabilities or counts. The numbers stand beside them as text. */
import { h, s } from "../elements.js";
import { fixed, number, percent, t } from "../words.js";
import { className, inOrder } from "../work.js";
import { colorOf, mark } from "./marks.js";

const TURN = 2 * Math.PI;

function arc(from, to, inner, outer) {
  const point = (share, radius) => {
    const angle = share * TURN - TURN / 4;
    return `${(50 + radius * Math.cos(angle)).toFixed(3)} ${(50 + radius * Math.sin(angle)).toFixed(3)}`;
  };
  const large = to - from > 0.5 ? 1 : 0;
  return `M${point(from, outer)}A${outer} ${outer} 0 ${large} 1 ${point(to, outer)}`
    + `L${point(to, inner)}A${inner} ${inner} 0 ${large} 0 ${point(from, inner)}Z`;
}

/**
 * A pie with a hole for one number.
 * `parts` are `{key, share}` with shares that add up to 1; `middle` and `below` are the words in the hole.
 */
export function pie(parts, { middle = "", below = "" } = {}) {
  const drawn = parts.filter(part => part.share > 0.0005).sort((a, b) => b.share - a.share);
  const label = drawn.slice(0, 4).map(part => `${className(part.key)} ${percent(part.share)}`).join(", ");
  const svg = s("svg", { class: "pie", viewBox: "0 0 100 100", role: "img", "aria-label": label });
  let from = 0;
  for (const part of drawn) {
    // A whole turn has no ends, so it is drawn a hair short of one.
    const to = Math.min(from + part.share, from + 0.9999);
    svg.append(s("path", { d: arc(from, to, 29, 48), fill: colorOf(part.key) }, s("title", {}, className(part.key))));
    from += part.share;
  }
  if (!drawn.length) svg.append(s("circle", { cx: 50, cy: 50, r: 38.5, class: "pie-empty" }));
  svg.append(s("text", { x: 50, y: below ? 50 : 54, class: "pie-number" }, middle));
  if (below) svg.append(s("text", { x: 50, y: 62, class: "pie-words" }, below));
  return svg;
}

function row(key, share, words, extra = "") {
  return h("li", { class: `bar-row ${extra}` }, mark(key), h("span", { class: "bar-name" }, className(key)),
    h("span", { class: "bar-track", "aria-hidden": "true" },
      h("span", { class: "bar-fill", vars: { "--share": share, "--c": colorOf(key) } })),
    h("span", { class: "bar-number" }, words));
}

/** Probabilities as bars with numbers, the largest first; classes of the prediction set are marked. */
export function probabilityBars(cell) {
  const set = new Set(cell.set);
  const rows = Object.entries(cell.probabilities || {}).sort((a, b) => b[1] - a[1]);
  return h("ul", { class: "bars", "aria-label": t("cell.probabilities") },
    rows.map(([key, share]) => row(key, share, percent(share), set.has(key) ? "in-set" : "")));
}

export function probabilityPie(cell) {
  const parts = Object.entries(cell.probabilities || {}).map(([key, share]) => ({ key, share }));
  return pie(parts, { middle: percent(cell.confidence ?? 0, 0), below: t("cell.confidence") });
}

/** Counts by class as bars, in the order of counting. */
export function countBars(counts) {
  const most = Math.max(1, ...Object.values(counts));
  return h("ul", { class: "bars" },
    inOrder(Object.keys(counts)).filter(key => counts[key]).map(key => row(key, counts[key] / most, number(counts[key]))));
}

/** Counts by class as a pie; the hole holds their sum. */
export function countPie(counts, below) {
  const sum = Object.values(counts).reduce((all, n) => all + n, 0);
  const parts = Object.entries(counts).map(([key, n]) => ({ key, share: sum ? n / sum : 0 }));
  return pie(parts, { middle: number(sum), below });
}

/** A strip from 0 to 100 % with the usual range, the interval and the value. */
export function strip(row_) {
  const { interval, reference, percent: value } = row_;
  const piece = (kind, low, high) => h("span", { class: `strip-${kind}`, vars: { "--from": low, "--to": high } });
  return h("span", { class: "strip", "aria-hidden": "true" },
    reference ? piece("usual", reference.low, reference.high) : null,
    interval ? piece("interval", interval.low, interval.high) : null,
    value === null || value === undefined ? null : h("span", { class: "strip-value", vars: { "--from": value } }));
}

export const range = (low, high, digits = 1) => `${fixed(low, digits)}–${fixed(high, digits)}`;
