/** Words, numbers and dates in the chosen language. */
import { FALLBACK, LOCALES } from "./locales.js";
import { remember, remembered } from "./memory.js";

let words = {};
let patterns = [];
let code = FALLBACK;
let plurals = new Intl.PluralRules(FALLBACK);
const formats = new Map();

/** The language to begin with: the one chosen before, else the first of the browser's that there is. */
export function preferred() {
  const known = LOCALES.map(row => row.code);
  const asked = [remembered("locale"), ...navigator.languages.map(tag => tag.split("-")[0])];
  return asked.find(tag => known.includes(tag)) || FALLBACK;
}

export function locale() { return code; }

/** Load a language and use it from now on. */
export async function speak(wanted) {
  const row = LOCALES.find(each => each.code === wanted) || LOCALES[0];
  const load = async name => {
    const answer = await fetch(`/static/locales/${name}`);
    if (!answer.ok) throw new Error(`${name}: ${answer.status}`);
    return answer.json();
  };
  const [fresh, sentences] = await Promise.all([load(`${row.code}.json`), row.sentences ? load(row.sentences) : []]);
  words = fresh;
  patterns = sentences.map(compiled);
  code = row.code;
  plurals = new Intl.PluralRules(code);
  formats.clear();
  document.documentElement.lang = code;
  remember("locale", code);
}

function found(key) {
  return key.split(".").reduce((part, step) => (part && typeof part === "object" ? part[step] : undefined), words);
}

/**
 * The words of a key, with `{name}` replaced by its value. Where the entry has forms (`one`, `other`), `n` picks one;
 * numbers are written as the language writes them.
 */
export function t(key, values = {}) {
  let entry = found(key);
  if (entry && typeof entry === "object" && "other" in entry) entry = entry[plurals.select(values.n ?? 0)] ?? entry.other;
  if (typeof entry !== "string") return key;
  return entry.replace(/\{(\w+)\}/g, (whole, name) => {
    const value = values[name];
    return value === undefined ? whole : typeof value === "number" ? number(value) : String(value);
  });
}

/** A list or a tree of words, such as the paragraphs of a page. */
export function tree(key) { return found(key) ?? []; }

function format(kind, options) {
  const key = kind.name + JSON.stringify(options);
  if (!formats.has(key)) formats.set(key, new kind(code, options));
  return formats.get(key);
}

export function number(value, digits = 0) {
  return format(Intl.NumberFormat, { minimumFractionDigits: 0, maximumFractionDigits: digits }).format(value);
}

export function fixed(value, digits = 1) {
  return format(Intl.NumberFormat, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);
}

/** A share in [0, 1] as percent. What is not quite all or nothing never reads as 100 % or 0 %. */
export function percent(share, digits = 1) {
  const step = 10 ** -(digits + 2);
  const write = value => format(Intl.NumberFormat, {
    style: "percent", minimumFractionDigits: digits, maximumFractionDigits: digits,
  }).format(value);
  if (share > 0 && share < step / 2) return `< ${write(step)}`;
  if (share < 1 && share > 1 - step / 2) return `> ${write(1 - step)}`;
  return write(share);
}

export function moment(iso) {
  const when = typeof iso === "number" ? new Date(iso * 1000) : new Date(iso);
  if (Number.isNaN(when.getTime())) return String(iso ?? "");
  return format(Intl.DateTimeFormat, { dateStyle: "medium", timeStyle: "short" }).format(when);
}

export function day(when) { return format(Intl.DateTimeFormat, { dateStyle: "medium" }).format(when); }

export function listed(names) { return format(Intl.ListFormat, { type: "conjunction" }).format(names); }

/** `{a}` in a pattern stands for anything, `{a:class}` for the name of a class, `{a:number}` for a number. */
function compiled({ from, to }) {
  const kinds = [];
  const escaped = from.replace(/[.*+?^$()|[\]\\/]/g, "\\$&");
  const source = escaped.replace(/\{(\w+)(?::(\w+))?\}/g, (_, name, kind = "") => {
    kinds.push({ name, kind });
    return kind === "number" ? "(-?[\\d.,]*\\d)" : "(.+?)";
  });
  return { test: new RegExp(`^${source}$`), to, kinds };
}

let classNames = new Map();

/** Tell which English class name is which in the language, for sentences that hold one. */
export function knowClasses(rows) {
  classNames = new Map(rows.map(row => [row.name.en, row.name]));
}

function said(value, kind) {
  if (kind === "class") { const names = classNames.get(value); return names ? names[code] || value : value; }
  if (kind === "number") return localNumber(value);
  return value;
}

function localNumber(text) {
  const value = Number(text);
  if (Number.isNaN(value)) return text;
  const digits = (text.split(".")[1] || "").length;
  return fixed(value, digits);
}

function whole(text) {
  for (const pattern of patterns) {
    const match = pattern.test.exec(text);
    if (!match) continue;
    return pattern.kinds.reduce(
      (out, { name, kind }, place) => out.replaceAll(`{${name}}`, said(match[place + 1], kind)), pattern.to,
    );
  }
  return null;
}

/** A sentence of the server in the chosen language; English where no pattern fits, so that nothing is lost. */
export function sentence(text) {
  if (!text || !patterns.length) return text || "";
  const at = whole(text);
  if (at !== null) return at;
  return text.split("; ").map(part => whole(part) ?? part).join("; ");
}
