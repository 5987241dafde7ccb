/** A crop with its heat map over it: which class and how strong are chosen beside it. */
import { freshId, h, show } from "../elements.js";
import { percent, t } from "../words.js";
import { className, cropUrl, mapUrl } from "../work.js";
import { remember, remembered } from "../memory.js";

// The same steps as in the library's own drawings: black where there is no evidence, pale yellow where most is.
const HEAT = [[8, 4, 28], [74, 16, 96], [158, 38, 90], [222, 80, 52], [250, 146, 20], [252, 208, 66], [255, 252, 196]];
const TABLE = new Uint8ClampedArray(256 * 3);
for (let level = 0; level < 256; level++) {
  const place = level / 255 * (HEAT.length - 1), below = Math.min(HEAT.length - 2, Math.floor(place));
  for (let c = 0; c < 3; c++) TABLE[3 * level + c] = HEAT[below][c] + (place - below) * (HEAT[below + 1][c] - HEAT[below][c]);
}

/** Color a gray map into a canvas; where there is no evidence the picture shows through. */
export function paintHeat(canvas, picture) {
  canvas.width = picture.naturalWidth;
  canvas.height = picture.naturalHeight;
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.drawImage(picture, 0, 0);
  const pixels = pen.getImageData(0, 0, canvas.width, canvas.height);
  for (let i = 0; i < pixels.data.length; i += 4) {
    const at = 3 * pixels.data[i];
    pixels.data[i] = TABLE[at]; pixels.data[i + 1] = TABLE[at + 1]; pixels.data[i + 2] = TABLE[at + 2];
    pixels.data[i + 3] = Math.min(255, 50 + at * 0.36);
  }
  pen.putImageData(pixels, 0, 0);
}

function load(url) {
  return new Promise((resolve, reject) => {
    const picture = new Image();
    picture.onload = () => resolve(picture);
    picture.onerror = reject;
    picture.src = url;
  });
}

function tabs(panels, choose) {
  const buttons = panels.map(([key, id]) => h("button", {
    type: "button", role: "tab", class: "tab", id: `${id}-tab`, "aria-controls": id, on: { click: () => pick(key) },
  }, t(`heat.${key}`)));
  const list = h("div", { class: "tabs", role: "tablist", "aria-label": t("heat.view") }, buttons);
  function pick(key, focus = false) {
    panels.forEach(([name], place) => {
      const on = name === key;
      buttons[place].setAttribute("aria-selected", on);
      buttons[place].tabIndex = on ? 0 : -1;
      if (on && focus) buttons[place].focus();
    });
    choose(key);
  }
  list.addEventListener("keydown", event => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const place = buttons.findIndex(each => each.getAttribute("aria-selected") === "true");
    pick(panels[(place + step + panels.length) % panels.length][0], true);
  });
  return { list, pick };
}

/** The picture of a cell with the tabs "Picture" and "Heat map". */
export function heatView(cell, px = 320) {
  const canvas = h("canvas", { class: "heat-layer", hidden: true, "aria-hidden": "true" });
  const picture = h("img", { class: "crop", src: cropUrl(cell, px), alt: altOf(cell), width: px, height: px });
  const stage = h("div", { class: "stage" }, picture, canvas);
  if (!cell.probabilities) return h("div", { class: "heat" }, stage);
  const id = freshId("heat");
  const controls = h("div", { class: "heat-controls", id });
  const words = h("p", { class: "muted small", role: "status" });
  const state = { key: cell.class, serial: 0 };
  const strength = h("input", { type: "range", min: "0", max: "100", step: "1", id: `${id}-strength`,
    value: remembered("heat") || "60",
    on: { input: () => { mix(); remember("heat", strength.value); } } });
  const mix = () => canvas.style.setProperty("--strength", strength.value / 100);

  async function draw() {
    state.serial += 1;
    const mine = state.serial;
    show(words, t("heat.loading"));
    try {
      const map = await load(mapUrl(cell, state.key));
      if (mine !== state.serial) return;
      paintHeat(canvas, map);
      canvas.hidden = false;
      show(words, t("heat.shows", { name: className(state.key), share: percent(cell.probabilities[state.key] ?? 0) }));
    } catch { show(words, t("heat.failed")); }
  }
  const ranked = Object.entries(cell.probabilities).sort((a, b) => b[1] - a[1]);
  const chooser = h("select", { id: `${id}-class`, on: { change: event => { state.key = event.target.value; draw(); } } },
    ranked.map(([key, share]) => h("option", { value: key }, `${className(key)} (${percent(share)})`)));
  controls.append(
    h("div", { class: "pair" }, h("label", { for: `${id}-class` }, t("heat.class")), chooser),
    h("div", { class: "pair" }, h("label", { for: `${id}-strength` }, t("heat.strength")), strength),
    h("div", { class: "ramp-row small muted", "aria-hidden": "true" },
      h("span", {}, t("heat.none")), h("span", { class: "ramp" }), h("span", {}, t("heat.most"))),
    words);
  const bar = tabs([["picture", id], ["map", id]], key => {
    controls.hidden = key !== "map";
    remember("view", key === "map" ? "map" : "");
    if (key === "map") { mix(); draw(); } else { state.serial += 1; canvas.hidden = true; }
  });
  controls.setAttribute("role", "tabpanel");
  controls.setAttribute("aria-label", t("heat.map"));
  bar.pick(remembered("view") === "map" ? "map" : "picture");
  return h("div", { class: "heat" }, bar.list, stage, controls);
}

export function altOf(cell) {
  const name = className(cell.class_now || cell.class);
  return cell.refused && !cell.label ? t("cell.alt_refused", { n: cell.number, name }) : t("cell.alt", { n: cell.number, name });
}
