/** Fields: every cell found, numbered and named; counts, the differential, and a gallery of each class. */
import { button, h, icon, show } from "../elements.js";
import { fixed, number, sentence, t } from "../words.js";
import { bus, cellsOf, className, forget, imagesOf, inOrder, namedCells, pictureUrl, summary, work } from "../work.js";
import { cellDetail } from "../parts/detail.js";
import { differentialTable, findingList } from "../parts/differential.js";
import { askSure } from "../parts/dialogs.js";
import { exportMenu } from "../parts/exports.js";
import { FieldView } from "../parts/field_view.js";
import { gallery } from "../parts/gallery.js";
import { intake } from "../parts/intake.js";
import { mark, stillRefused } from "../parts/marks.js";
import { complain } from "../parts/toasts.js";
import { remember, remembered } from "../memory.js";
import { skeleton } from "./cell.js";

const KINDS = ["leukocyte", "erythrocyte", "platelet"];

export async function render(root, { signal, go, query }) {
  const shows = { boxes: true, numbers: true, leukocyte: true, erythrocyte: true, platelet: true };
  const state = { images: [], image: null, cells: [], all: null, open: "", grids: [], scope: remembered("gallery") || "here" };
  const size = h("input", { type: "number", id: "um", min: "0.005", max: "4", step: "0.001", inputmode: "decimal", value: remembered("um") });
  size.addEventListener("input", () => remember("um", size.value));
  const source = intake({ kind: "field", signal, small: true, query: () => ({ um_per_px: size.value }), ondone: ids => load(ids.at(-1)) });
  const place = h("div", { class: "intake-place" }, source.element, h("details", { class: "fold intake-more" },
    h("summary", {}, t("field.scale")), h("div", { class: "pair" }, h("label", { for: "um" }, t("field.um")), size),
    h("p", { class: "muted small" }, t("field.um_hint"))));
  const body = h("div", { class: "field-body" });
  root.append(h("div", { class: "page-head" }, h("div", {}, h("h1", {}, t("field.title")), h("p", { class: "lead" }, t("field.lead")))), place, body);

  const view = new FieldView({ shows, pick: (cell, { near = false } = {}) => pick(cell, { focus: !near }) });
  signal.addEventListener("abort", () => view.view.end());
  const strip = h("div", { class: "field-strip", role: "group", "aria-label": t("field.fields") });
  const about = h("div", { class: "field-about" });
  const side = h("section", { class: "card side-card" });
  const counts = h("section", { class: "card" });
  const diff = h("section", { class: "card" });
  const found = h("section", { class: "card" });
  const galleries = h("section", { class: "card galleries" });

  async function load(wanted = query.get("image")) {
    state.images = await imagesOf("field");
    state.all = null;
    if (signal.aborted) return;
    place.classList.toggle("first", !state.images.length);
    source.element.classList.toggle("small", Boolean(state.images.length));
    if (!state.images.length) { show(body, emptyWords()); return; }
    if (!body.contains(view.element)) {
      show(body, h("div", { class: "field-main" }, strip, h("div", { class: "card field-card" }, toggles(), view.element, about), galleries),
        h("div", { class: "field-side" }, side, counts, diff, found));
    }
    await open(state.images.find(image => image.id === wanted) || state.images.find(image => image.id === state.image?.id) || state.images[0]);
    await follow();
  }
  async function open(image, wanted = query.get("cell")) {
    state.image = image;
    drawStrip();
    state.cells = await cellsOf({ image: image.id, order: "number" });
    if (signal.aborted || state.image !== image) return;
    view.open(image, state.cells);
    const asked = state.cells.find(cell => cell.id === wanted);
    state.open = asked?.id || "";
    drawAbout();
    drawGalleries().catch(complain);
    drawSide();
    if (asked) view.choose(asked.id);
  }
  async function follow() {
    const values = await summary();
    if (signal.aborted) return;
    drawCounts(values);
    show(diff, h("div", { class: "card-head" }, h("h2", {}, t("differential.title")), exportMenu()),
      h("p", { class: "muted small" }, t("field.all_fields", { n: state.images.length })), differentialTable(values.differential));
    show(found, h("h2", {}, t("findings.title")), findingList(values.findings, openCells));
  }
  /** Open the first cell of a finding that lies in a field of this session. */
  function openCells(cells) {
    const first = cells[0];
    const image = state.images.find(each => each.name === first.file || first.file.endsWith(each.name));
    const then = () => { const cell = state.cells.find(each => each.number === first.number); if (cell) pick(cell); };
    if (image && image !== state.image) open(image).then(then, complain); else then();
  }
  function pick(cell, { focus = true } = {}) {
    state.open = cell.id;
    view.choose(cell.id, { focus });
    for (const grid of state.grids) grid.select(cell.id);
    drawSide();
  }
  function toggles() {
    const toggle = (key, words, sign) => h("button", { type: "button", class: "chip", "aria-pressed": shows[key], on: { click: event => {
      shows[key] = !shows[key];
      event.currentTarget.setAttribute("aria-pressed", shows[key]);
      view.view.redraw();
    } } }, sign, h("span", {}, words));
    return h("div", { class: "chips", role: "group", "aria-label": t("field.shows") },
      toggle("boxes", t("field.boxes")), toggle("numbers", t("field.numbers")),
      KINDS.map(kind => toggle(kind, t(`kind.${kind}`), kind === "leukocyte" ? null : mark(kind))));
  }
  function drawStrip() {
    strip.hidden = state.images.length < 2;
    show(strip, state.images.map(image => h("button", { type: "button", class: "field-thumb", "aria-pressed": image.id === state.image.id,
      on: { click: () => open(image).catch(complain) } },
    h("img", { src: pictureUrl(image), alt: "", loading: "lazy", width: 112, height: 84 }),
    h("span", { class: "small" }, image.name), h("span", { class: "muted small" }, t("session.cells", { n: image.n_cells })))));
  }
  function drawAbout() {
    const { image } = state, ruler = image.ruler || {};
    const scale = ruler.um_per_px ? t("field.ruler", { um: fixed(ruler.um_per_px, 3), how: t(`ruler.${ruler.method}`) }) : t("field.no_ruler");
    show(about, h("div", { class: "row spread" }, h("p", { class: "small muted" },
      h("span", { class: "strong" }, image.name), ` · ${number(image.width)} × ${number(image.height)} px · ${scale}`),
    button(t("field.delete"), { icon: "trash", kind: "small", onclick: () => drop().catch(complain) })),
    (image.quality || []).length ? h("ul", { class: "notes small" }, image.quality.map(text => h("li", {}, sentence(text)))) : null);
  }
  async function drop() {
    if (!await askSure(t("field.delete"), t("field.delete_sure", { name: state.image.name }), t("field.delete"))) return;
    await forget(state.image);
    state.image = null;
    await load();
  }
  function drawCounts(values) {
    const here = state.image.counts || {}, all = values.counts || {};
    const of = (from, kind) => from[kind] ?? from[`${kind}s`] ?? 0;
    show(counts, h("h2", {}, t("field.counts")), h("table", { class: "table" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, t("field.kind")), h("th", { scope: "col", class: "number" }, t("field.here")),
        h("th", { scope: "col", class: "number" }, t("field.in_all")))),
      h("tbody", {}, KINDS.map(kind => h("tr", {}, h("th", { scope: "row" }, t(`kind.${kind}`)),
        h("td", { class: "number" }, number(of(here, kind))), h("td", { class: "number strong" }, number(of(all, kind))))))),
    h("p", { class: "muted small" }, t("field.not_per_ul")));
  }
  /** Open a cell of the gallery, which may lie in another field; the field and the cell come into view. */
  async function fromGallery(cell) {
    const image = state.images.find(each => each.id === cell.image);
    if (image !== state.image) await open(image, cell.id); else pick(cell);
    (matchMedia("(min-width: 64rem)").matches ? body : side).scrollIntoView({ block: "start" });
  }
  async function drawGalleries() {
    const many = state.images.length > 1, everywhere = many && state.scope === "all";
    if (everywhere && !state.all) state.all = (await namedCells()).filter(cell => cell.source === "field");
    if (signal.aborted) return;
    const scope = key => h("button", { type: "button", class: "chip", "aria-pressed": state.scope === key, on: { click: () => {
      state.scope = key;
      remember("gallery", key);
      drawGalleries().then(() => galleries.querySelector(".chip[aria-pressed=true]")?.focus(), complain);
    } } }, t(`field.gallery_${key}`));
    const head = h("div", { class: "card-head" }, h("h2", {}, t("gallery.by_class")),
      many ? h("div", { class: "chips", role: "group", "aria-label": t("gallery.filter") }, scope("here"), scope("all")) : null);
    const groups = new Map();
    for (const cell of everywhere ? state.all : state.cells) {
      const key = stillRefused(cell) ? "refused" : cell.class_now || cell.class || cell.kind;
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(cell);
    }
    const keys = [...inOrder([...groups.keys()].filter(key => key !== "refused")), ...(groups.has("refused") ? ["refused"] : [])];
    state.grids = [];
    show(galleries, head, keys.map(key => {
      const cells = groups.get(key), words = key === "refused" ? t("cell.refused") : className(key);
      const box = h("div", {});
      const fold = h("details", { class: "fold gallery-fold", open: key !== "erythrocyte" },
        h("summary", {}, h("span", { class: "named" }, key === "refused" ? icon("refused", "caution") : mark(key), words),
          h("span", { class: "count" }, number(cells.length))), box);
      const fill = () => {
        if (!fold.open || box.firstChild) return;
        const grid = gallery(cells.slice(0), { open: cell => fromGallery(cell).catch(complain), label: words });
        state.grids.push(grid);
        box.append(grid.element);
      };
      fold.addEventListener("toggle", fill);
      fill();
      return fold;
    }));
  }
  function drawSide() {
    const cell = state.cells.find(each => each.id === state.open);
    if (!cell) { show(side, h("h2", {}, t("field.one")), h("p", { class: "muted" }, t("field.pick"))); return; }
    show(side, h("h2", { class: "small-head" }, t("cell.number", { n: cell.number })), cellDetail(cell, { heatPx: 240, onchange: replace,
      actions: [button(t("cell.to_review"), { icon: "review", onclick: () => go(`/review?cell=${cell.id}`) })] }));
  }
  function replace(cell) {
    const at = state.cells.findIndex(each => each.id === cell.id);
    if (at >= 0) state.cells[at] = cell;
    state.all = null;
    view.cells = state.cells;
    view.view.redraw();
    drawSide();
    drawGalleries().catch(complain);
    follow().catch(complain);
    side.querySelector("summary")?.focus();
  }
  bus.addEventListener("cell", event => { if (!event.detail) load().catch(complain); }, { signal });
  if (work.sid) { show(body, skeleton()); await load(); } else { place.classList.add("first"); source.element.classList.remove("small"); show(body, emptyWords()); }
}

function emptyWords() {
  return h("section", { class: "hints" }, ["count", "differential", "ruler"].map(key => h("div", { class: "hint" },
    icon({ count: "field", differential: "models", ruler: "fit" }[key]), h("h2", {}, t(`field.hint_${key}_title`)),
    h("p", { class: "muted" }, t(`field.hint_${key}`)))));
}
