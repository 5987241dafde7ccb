/** About the project, and about the people: pages of words, kept in the locale files. */
import { h, icon } from "../elements.js";
import { t, tree } from "../words.js";
import { get } from "../server.js";

function block(part) {
  if (typeof part === "string") return h("p", {}, part);
  if (part.list) return h("ul", { class: "plain-list" }, part.list.map(text => h("li", {}, text)));
  return h("dl", { class: "facts wide" }, part.pairs.map(([term, text]) => h("div", {}, h("dt", {}, term), h("dd", {}, text))));
}

export async function render(root, { name, signal }) {
  const page = tree(name === "us" ? "us" : "about");
  root.append(h("div", { class: "page-head" }, h("div", {}, h("h1", {}, page.title), h("p", { class: "lead" }, page.lead))),
    h("div", { class: "about-body" }, page.sections.map(section => h("section", { class: "card prose" },
      h("h2", {}, section.icon ? icon(section.icon) : null, section.title), section.parts.map(block)))));
  if (name === "us") return;
  const { version, model, detector } = await get("/v1/version", signal);
  if (!signal.aborted) root.append(h("p", { class: "muted small" }, t("about.version", { version, model, detector })));
}
