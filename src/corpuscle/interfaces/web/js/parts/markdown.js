/** The little Markdown of a model card as elements: headings, lists, tables, bold and code. Nothing else is read. */
import { h } from "../elements.js";

function inline(text) {
  return text.split(/(\*\*[^*]+\*\*|`[^`]+`|https?:\/\/[^\s)`]*[^\s)`.,;])/).map(part => {
    if (part.startsWith("**")) return h("strong", {}, part.slice(2, -2));
    if (part.startsWith("`")) return h("code", {}, part.slice(1, -1));
    if (/^https?:/.test(part)) return h("a", { href: part, rel: "noreferrer noopener", target: "_blank" }, part);
    return part;
  });
}

const cells = line => line.trim().replace(/^\||\|$/g, "").split("|").map(cell => cell.trim());

function table(lines, label) {
  const [head, , ...rows] = lines.map(cells);
  return h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": label }, h("table", { class: "table" },
    h("thead", {}, h("tr", {}, head.map(cell => h("th", { scope: "col" }, inline(cell))))),
    h("tbody", {}, rows.map(row => h("tr", {}, row.map(cell => h("td", {}, inline(cell))))))));
}

/** Turn Markdown into elements; headings begin at `level`. */
export function markdown(text, { level = 3, label = "" } = {}) {
  const out = [];
  for (const block of text.replaceAll("\r", "").split(/\n{2,}/)) {
    const lines = block.split("\n").filter(line => line.trim());
    if (!lines.length) continue;
    const heading = /^(#{1,4})\s+(.*)/.exec(lines[0]);
    if (heading) {
      out.push(h(`h${Math.min(6, level + heading[1].length - 1)}`, {}, inline(heading[2])));
      lines.shift();
      if (!lines.length) continue;
    }
    if (lines[0].startsWith("|")) out.push(table(lines, label));
    else if (/^[-*]\s/.test(lines[0])) out.push(h("ul", { class: "plain-list" }, lines.map(line => h("li", {}, inline(line.replace(/^[-*]\s+/, ""))))));
    else out.push(h("p", {}, inline(lines.join(" "))));
  }
  return out;
}
