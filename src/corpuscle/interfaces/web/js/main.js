/** Where the page begins: language, session, header and footer, and which page the address asks for. */
import { button, h, icon, iconButton, s, show } from "./elements.js";
import { locale, preferred, speak, t } from "./words.js";
import { LOCALES } from "./locales.js";
import { remember, remembered } from "./memory.js";
import { onLocked } from "./server.js";
import { begin, bus, work } from "./work.js";
import { askToken, sessionDialog, shortcutDialog } from "./parts/dialogs.js";
import { complain } from "./parts/toasts.js";

const PAGES = {
  cell: () => import("./pages/cell.js"),
  field: () => import("./pages/field.js"),
  review: () => import("./pages/review.js"),
  map: () => import("./pages/map.js"),
  models: () => import("./pages/models.js"),
  about: () => import("./pages/about.js"),
  us: () => import("./pages/about.js"),
};
const WORKPLACES = ["cell", "field", "review", "map", "models"];
const ICONS = { cell: "cell", field: "field", review: "review", map: "map", models: "models", about: "about", us: "people" };
const THEMES = ["system", "light", "dark"];
const content = document.getElementById("content");
let leave = null;
let serial = 0;
let shown = "";

const pageNow = () => location.pathname.replace(/^\/|\/$/g, "") || "cell";

export function go(path) {
  history.pushState(null, "", path);
  route({ focus: true });
}

/** Show the page of the address; a page that is left is told, so that its listeners go. */
async function route({ focus = false } = {}) {
  serial += 1;
  const mine = serial, name = pageNow();
  shown = location.pathname + location.search;
  leave?.abort();
  leave = new AbortController();
  const { signal } = leave;
  frame();
  document.title = `${t(PAGES[name] ? `nav.${name}` : "nav.missing")} · Corpuscle`;
  content.className = `content page-${name}`;
  if (focus) { content.focus({ preventScroll: true }); window.scrollTo(0, 0); }
  if (!PAGES[name]) {
    show(content, h("section", { class: "empty" }, h("h1", {}, t("nav.missing")), h("p", {}, t("missing.words")),
      h("p", {}, h("a", { href: "/cell", "data-go": "" }, t("nav.cell")))));
    return;
  }
  const root = h("div", { class: "page" });
  try {
    const page = await PAGES[name]();
    if (mine !== serial) return;
    show(content, root);
    await page.render(root, { signal, go, name, query: new URLSearchParams(location.search) });
  } catch (error) {
    if (mine !== serial || error.name === "AbortError") return;
    console.error(error);
    show(content, h("section", { class: "empty" }, icon("warn", "huge caution"), h("h1", {}, t("error.title")),
      h("p", {}, error.message), button(t("word.again"), { kind: "primary", onclick: () => route() })));
  }
}

function brand() {
  return h("a", { href: "/cell", class: "brand", "data-go": "", "aria-label": "Corpuscle" },
    s("svg", { viewBox: "0 0 32 32", class: "brand-mark", "aria-hidden": "true" },
      s("circle", { cx: 16, cy: 16, r: 14.5, class: "brand-cell" }),
      s("path", { d: "M11.2 13.2 20 11.4l-1.2 9", class: "brand-bridge" }),
      s("circle", { cx: 11.2, cy: 13.2, r: 4.6, class: "brand-lobe" }), s("circle", { cx: 20, cy: 11.4, r: 4.3, class: "brand-lobe" }),
      s("circle", { cx: 18.8, cy: 20.4, r: 4.7, class: "brand-lobe" })),
    h("span", {}, "Corpuscle"));
}

function links(names, extra) {
  return h("ul", { class: extra }, names.map(name => h("li", {}, h("a", {
    href: `/${name}`, "data-go": "", class: "nav-link", "aria-current": pageNow() === name ? "page" : null,
  }, icon(ICONS[name]), h("span", {}, t(`nav.${name}`))))));
}

function languageSwitch() {
  return h("div", { class: "switch", role: "group", "aria-label": t("language.choose") }, LOCALES.map(row => h("button", {
    type: "button", lang: row.code, title: row.name, "aria-label": row.name, "aria-pressed": row.code === locale(),
    on: { click: () => changeLanguage(row.code) },
  }, row.code.toUpperCase())));
}

async function changeLanguage(code) {
  try {
    await speak(code);
    await route();
    document.querySelector(`.switch [lang="${code}"]`)?.focus();
  } catch (error) { complain(error); }
}

function themeButton() {
  const now = remembered("theme") || "system";
  const next = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
  const sign = { system: "system", light: "sun", dark: "moon" }[now];
  return iconButton(sign, t("theme.label", { now: t(`theme.${now}`), next: t(`theme.${next}`) }), () => {
    remember("theme", next === "system" ? "" : next);
    applyTheme();
    frame();
    document.querySelector(".theme-button")?.focus();
  }, { class: "button quiet square theme-button" });
}

const prefersDark = matchMedia("(prefers-color-scheme: dark)");
function applyTheme() {
  const asked = remembered("theme") || "system";
  document.documentElement.dataset.theme = asked === "system" ? (prefersDark.matches ? "dark" : "light") : asked;
  window.dispatchEvent(new Event("corpuscle:theme"));
}
prefersDark.addEventListener("change", applyTheme);

function sessionButton() {
  const name = work.session?.name || t("session.no_session");
  return h("button", { type: "button", class: "button session-button", "aria-haspopup": "dialog",
    title: t("session.choose"), on: { click: sessionDialog } }, icon("session"),
  h("span", { class: "visually-hidden" }, `${t("session.choose")}: `), h("span", { class: "session-name" }, name),
  work.session?.reviewed ? icon("check", "good") : null, icon("down", "tiny"));
}

/** Header and footer, in the language of now. */
function frame() {
  document.getElementById("skip").textContent = t("nav.skip");
  show(document.getElementById("header"), h("div", { class: "header-inner" }, brand(),
    h("nav", { class: "nav", "aria-label": t("nav.label") }, links(WORKPLACES, "nav-main"), links(["about", "us"], "nav-side")),
    h("div", { class: "tools" }, sessionButton(), languageSwitch(), themeButton(),
      iconButton("keys", t("keys.title"), shortcutDialog, { class: "button quiet square keys-button" }))));
  show(document.getElementById("footer"), h("div", { class: "footer-inner" },
    h("p", { class: "disclaimer" }, t("footer.notice")), h("p", { class: "muted" }, t("footer.decides")),
    links(["about", "us"], "footer-links")));
}

function keys() {
  let leader = 0;
  const pages = { c: "cell", f: "field", r: "review", m: "map", o: "models", a: "about" };
  window.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target) || document.querySelector("dialog[open]")) return;
    if (event.key === "?") { event.preventDefault(); shortcutDialog(); }
    else if (event.key === "g") leader = event.timeStamp;
    else if (pages[event.key] && leader && event.timeStamp - leader < 1200) {
      event.preventDefault(); event.stopImmediatePropagation(); leader = 0; go(`/${pages[event.key]}`);
    } else leader = 0;
  }, { capture: true });
}

const typing = node => Boolean(node.closest?.("input:not([type=range]):not([type=checkbox]), textarea, select"));

function clicks() {
  document.addEventListener("click", event => {
    const link = event.target.closest?.("a[data-go]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    go(link.getAttribute("href"));
  });
  // A jump inside the page is no other page.
  window.addEventListener("popstate", () => { if (location.pathname + location.search !== shown) route(); });
  document.getElementById("skip").addEventListener("click", event => { event.preventDefault(); content.focus(); });
}

async function start() {
  const spoken = speak(preferred());
  onLocked(async again => { await spoken; return askToken(again); });
  const begun = begin();
  begun.catch(() => {});
  await spoken;
  frame();
  clicks();
  keys();
  try { await begun; } catch (error) { complain(error); }
  bus.addEventListener("session", () => route());
  bus.addEventListener("line", () => document.querySelector(".session-button")?.replaceWith(sessionButton()));
  await route();
}

start().catch(error => { show(content, h("p", { class: "empty" }, String(error.message || error))); });
