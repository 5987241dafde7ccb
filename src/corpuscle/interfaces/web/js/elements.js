/** Elements without markup in strings: nothing that comes from a file name can become part of the page. */
const SVG = "http://www.w3.org/2000/svg";
const PROPERTIES = new Set(["value", "checked", "disabled", "selected", "hidden", "indeterminate", "open", "multiple"]);

function put(node, props) {
  for (const [name, value] of Object.entries(props || {})) {
    if (value === undefined || value === null) continue;
    if (name.startsWith("aria-")) node.setAttribute(name, String(value));
    else if (value === false && !PROPERTIES.has(name)) continue;
    else if (name === "on") for (const [kind, run] of Object.entries(value)) node.addEventListener(kind, run);
    else if (name === "vars") for (const [key, text] of Object.entries(value)) node.style.setProperty(key, text);
    else if (name === "data") Object.assign(node.dataset, value);
    else if (PROPERTIES.has(name)) node[name] = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
}

function fill(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false || child === "") continue;
    node.append(child instanceof Node ? child : String(child));
  }
  return node;
}

/** Make an HTML element. `on` holds listeners, `vars` CSS custom properties, `data` data attributes. */
export function h(tag, props, ...children) {
  const node = document.createElement(tag);
  fill(node, children);
  put(node, props);
  return node;
}

/** Make an SVG element. */
export function s(tag, props, ...children) {
  const node = document.createElementNS(SVG, tag);
  put(node, props);
  return fill(node, children);
}

/** Replace what a node holds. */
export function show(node, ...children) {
  node.textContent = "";
  return fill(node, children);
}

/** An icon of `icons/icons.svg`; decoration, so the words must stand beside it or in a label. */
export function icon(name, extra = "") {
  return s("svg", { class: `icon ${extra}`, "aria-hidden": "true", focusable: "false" },
    s("use", { href: `/static/icons/icons.svg#${name}` }));
}

export function button(words, { icon: name = "", kind = "", onclick, ...rest } = {}) {
  return h("button", { type: "button", class: `button ${kind}`, on: onclick ? { click: onclick } : {}, ...rest },
    name ? icon(name) : null, words ? h("span", {}, words) : null);
}

/** A button that shows an icon alone; `label` is read out and shown as a hint. */
export function iconButton(name, label, onclick, rest = {}) {
  return h("button", { type: "button", class: "button quiet square", "aria-label": label, title: label,
    on: { click: onclick }, ...rest }, icon(name));
}

let last = 0;
export function freshId(stem) { last += 1; return `${stem}-${last}`; }

/** Wait until `run` has not been called for `ms`. */
export function calm(run, ms = 120) {
  let timer = 0;
  return (...given) => { clearTimeout(timer); timer = setTimeout(() => run(...given), ms); };
}
