/** A field with a numbered box on each cell, to zoom and pan. */
import { h, iconButton } from "../elements.js";
import { t } from "../words.js";
import { className, pictureUrl } from "../work.js";
import { colorOf, shapeOf, stillRefused } from "./marks.js";
import { Viewport } from "./viewport.js";

const paths = new Map();
const pathOf = key => {
  if (!paths.has(key)) paths.set(key, new Path2D(shapeOf(key)));
  return paths.get(key);
};

/**
 * Show a field.
 * `shows` says what is drawn (`boxes`, `numbers`, and each kind); `pick(cell)` is called when a cell is clicked.
 */
export class FieldView {
  constructor({ shows, pick }) {
    Object.assign(this, { shows, pick, cells: [], image: null, picture: null, chosen: "", hover: "" });
    this.canvas = h("canvas", { class: "field-canvas", tabindex: "0", role: "application", "aria-label": t("field.canvas") });
    this.note = h("p", { class: "field-note", role: "status" });
    this.tip = h("p", { class: "field-tip", hidden: true });
    this.view = new Viewport(this.canvas, { size: () => [this.image?.width || 0, this.image?.height || 0],
      draw: (pen, view) => this.draw(pen, view) });
    this.element = h("div", { class: "field-view" }, this.canvas, this.tip, this.note, h("div", { class: "field-tools" },
      iconButton("plus", t("view.in"), () => this.view.zoomBy(1.4)), iconButton("minus", t("view.out"), () => this.view.zoomBy(1 / 1.4)),
      iconButton("fit", t("view.fit"), () => this.view.fit())));
    this.listen();
  }

  /** Show another field; its cells may come later. */
  open(image, cells) {
    this.image = image;
    this.cells = cells;
    this.chosen = "";
    this.picture = null;
    this.note.textContent = t("field.loading");
    const picture = new Image();
    picture.onload = () => {
      if (this.image !== image) return;
      this.picture = picture;
      this.note.textContent = "";
      this.view.redraw();
    };
    picture.onerror = () => { if (this.image === image) this.note.textContent = t("field.no_picture"); };
    picture.src = pictureUrl(image);
    this.canvas.style.setProperty("--ratio", Math.min(2.2, Math.max(0.75, image.width / image.height)));
    this.view.resize();
    this.view.fit();
  }

  visible(cell) { return this.shows[cell.kind] !== false; }

  choose(id, { focus = true } = {}) {
    this.chosen = id;
    const cell = this.cells.find(each => each.id === id);
    if (cell?.box && focus) this.view.focus(cell.box);
    else this.view.redraw();
    if (cell) this.note.textContent = this.words(cell);
  }

  words(cell) {
    const name = stillRefused(cell) ? t("cell.refused") : className(cell.class_now || cell.class || cell.kind);
    return t("field.cell", { n: cell.number, name });
  }

  draw(pen, view) {
    if (!this.image) return;
    const { zoom, x, y } = view;
    if (this.picture) {
      pen.imageSmoothingEnabled = zoom < 4;
      pen.drawImage(this.picture, x, y, this.image.width * zoom, this.image.height * zoom);
    }
    if (!this.shows.boxes && !this.shows.numbers) return this.drawOne(pen, this.cells.find(each => each.id === this.chosen), true);
    for (const cell of this.cells) {
      if (!this.visible(cell) || cell.id === this.chosen || !this.near(cell, view)) continue;
      this.drawOne(pen, cell, cell.id === this.hover);
    }
    return this.drawOne(pen, this.cells.find(each => each.id === this.chosen), true);
  }

  near({ box }, { zoom, x, y, width, height }) {
    return box && box[2] * zoom + x > 0 && box[0] * zoom + x < width && box[3] * zoom + y > 0 && box[1] * zoom + y < height;
  }

  drawOne(pen, cell, strong) {
    if (!cell?.box) return;
    const { zoom, x, y } = this.view;
    const [x0, y0, x1, y1] = cell.box;
    const left = x0 * zoom + x, top = y0 * zoom + y, across = (x1 - x0) * zoom, down = (y1 - y0) * zoom;
    const key = cell.class_now || cell.class || cell.kind, refused = stillRefused(cell);
    if (this.shows.boxes || strong) {
      const wide = strong ? 3 : cell.kind === "erythrocyte" ? 1.2 : 2;
      pen.setLineDash([]);
      pen.lineWidth = wide + 2;
      pen.strokeStyle = strong ? "#fff" : "rgb(255 255 255 / .75)";
      pen.strokeRect(left, top, across, down);
      pen.setLineDash(refused ? [6, 4] : []);
      pen.lineWidth = wide;
      pen.strokeStyle = refused ? "#a8430b" : colorOf(key);
      pen.strokeRect(left, top, across, down);
      pen.setLineDash([]);
    }
    if ((this.shows.numbers && (across > 22 || cell.kind !== "erythrocyte")) || strong) this.tag(pen, cell, key, refused, [left, top, strong]);
  }

  /** The number of a cell on a small plate, with the mark of its class. */
  tag(pen, cell, key, refused, [left, top, strong]) {
    const size = strong ? 14 : 11, words = String(cell.number), sign = cell.kind !== "erythrocyte" || strong;
    pen.font = `600 ${size}px system-ui, sans-serif`;
    const across = pen.measureText(words).width + 6 + (sign ? size + 3 : 0), down = size + 5;
    const y = Math.max(0, top - down);
    pen.fillStyle = strong ? "#1b222c" : "rgb(255 255 255 / .9)";
    pen.fillRect(left - 1, y, across, down);
    pen.fillStyle = strong ? "#fff" : "#1b222c";
    pen.textBaseline = "middle";
    pen.fillText(words, left + 2 + (sign ? size + 3 : 0), y + down / 2 + 0.5);
    if (!sign) return;
    pen.save();
    pen.translate(left + 2, y + 2.5);
    pen.scale(size / 16, size / 16);
    if (refused) { pen.strokeStyle = strong ? "#ffb27d" : "#a8430b"; pen.lineWidth = 2.4; pen.beginPath(); pen.arc(8, 8, 6.2, 0, 7); pen.moveTo(3.6, 3.6); pen.lineTo(12.4, 12.4); pen.stroke(); }
    else { pen.fillStyle = colorOf(key); pen.fill(pathOf(key), "evenodd"); pen.lineWidth = 1.2; pen.strokeStyle = strong ? "#fff" : "#4d5763"; pen.stroke(pathOf(key)); }
    pen.restore();
  }

  /** The smallest cell at a point of the canvas. */
  at(x, y) {
    const [px, py] = this.view.toPlane(x, y);
    let best = null, least = Infinity;
    for (const cell of this.cells) {
      if (!cell.box || !this.visible(cell)) continue;
      const [x0, y0, x1, y1] = cell.box, area = (x1 - x0) * (y1 - y0);
      if (px >= x0 && px <= x1 && py >= y0 && py <= y1 && area < least) { best = cell; least = area; }
    }
    return best;
  }

  step(by) {
    const cells = this.cells.filter(cell => this.visible(cell));
    if (!cells.length) return;
    const place = cells.findIndex(cell => cell.id === this.chosen);
    this.pick(cells[(place + by + cells.length) % cells.length]);
  }

  listen() {
    this.canvas.addEventListener("click", event => {
      if (this.view.moved > 6) return;
      const cell = this.at(event.offsetX, event.offsetY);
      if (cell) this.pick(cell, { near: true });
    });
    this.canvas.addEventListener("pointermove", event => {
      const cell = this.view.pointers.size ? null : this.at(event.offsetX, event.offsetY);
      const id = cell?.id || "";
      this.tip.hidden = !cell;
      if (cell) {
        this.tip.textContent = this.words(cell);
        this.tip.style.setProperty("--x", `${event.offsetX}px`);
        this.tip.style.setProperty("--y", `${event.offsetY}px`);
      }
      if (id !== this.hover) { this.hover = id; this.view.redraw(); }
      this.canvas.classList.toggle("over-cell", Boolean(cell));
    });
    this.canvas.addEventListener("pointerleave", () => { this.hover = ""; this.tip.hidden = true; this.view.redraw(); });
    this.canvas.addEventListener("keydown", event => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === "n" || event.key === "PageDown") this.step(1);
      else if (event.key === "p" || event.key === "PageUp") this.step(-1);
      else return;
      event.preventDefault();
    });
  }
}
