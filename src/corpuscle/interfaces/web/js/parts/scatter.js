/** Points on a plane with a shape and a color each; a line drawn around them chooses. */
import { h } from "../elements.js";
import { t } from "../words.js";
import { shapeOf } from "./marks.js";
import { Viewport } from "./viewport.js";

const REACH_PX = 14;

export function pointInside(line, x, y) {
  let within = false;
  for (let a = 0, b = line.length - 1; a < line.length; b = a++) {
    const [ax, ay] = line[a], [bx, by] = line[b];
    if ((ay > y) !== (by > y) && x < (bx - ax) * (y - ay) / (by - ay) + ax) within = !within;
  }
  return within;
}

/**
 * Draw points; each is `{id, x, y, key, color, faint}` with `key` the class that gives the shape.
 * `hover(point, x, y)` is told what lies under the pointer, `choose(ids)` what a line was drawn around.
 */
export class Scatter {
  constructor({ hover, choose, open }) {
    Object.assign(this, { hover, choose, open, points: [], chosen: new Set(), lasso: false, line: null, under: null, at: -1 });
    this.canvas = h("canvas", { class: "map-canvas", tabindex: "0", role: "application", "aria-label": t("map.canvas") });
    this.view = new Viewport(this.canvas, { size: () => [1, 1], draw: (pen, view) => this.draw(pen, view),
      press: event => this.press(event), most: 40000 });
    this.listen();
  }

  /** Give the points; their coordinates are brought to a square of side 1 whose aspect stays. */
  give(points) {
    const xs = points.map(point => point.x), ys = points.map(point => point.y);
    const left = Math.min(...xs), right = Math.max(...xs), low = Math.min(...ys), high = Math.max(...ys);
    const side = Math.max(right - left, high - low, 1e-9) * 1.12;
    const dx = (side - (right - left)) / 2, dy = (side - (high - low)) / 2;
    this.points = points.map(point => ({ ...point, px: (point.x - left + dx) / side, py: (high - point.y + dy) / side }));
    this.paths = new Map([...new Set(points.map(point => point.key))].map(key => [key, new Path2D(shapeOf(key))]));
    this.view.fit();
  }

  size() { return Math.max(7, Math.min(15, 240 / Math.sqrt(this.points.length || 1))) * Math.min(2, Math.max(1, Math.sqrt(this.view.zoom / this.view.least))); }

  draw(pen, view) {
    const style = getComputedStyle(this.canvas), ink = style.getPropertyValue("--ink"), azure = style.getPropertyValue("--azure");
    const edge = style.getPropertyValue("--mark-line"), size = this.size();
    for (const point of this.points) this.mark(pen, point, view, size, edge, point.faint ? 0.16 : 0.92);
    for (const point of this.points) {
      const on = this.chosen.has(point.id);
      if (!on && point !== this.under) continue;
      pen.beginPath();
      pen.arc(point.px * view.zoom + view.x, point.py * view.zoom + view.y, size * 0.8, 0, 7);
      pen.lineWidth = 2;
      pen.strokeStyle = on ? azure : ink;
      pen.stroke();
    }
    if (!this.line || this.line.length < 2) return;
    pen.beginPath();
    this.line.forEach(([x, y], place) => (place ? pen.lineTo(x, y) : pen.moveTo(x, y)));
    pen.closePath();
    pen.globalAlpha = 0.12;
    pen.fillStyle = azure;
    pen.fill();
    pen.globalAlpha = 1;
    pen.strokeStyle = azure;
    pen.stroke();
  }

  mark(pen, point, view, size, edge, alpha) {
    pen.save();
    pen.globalAlpha = alpha;
    pen.translate(point.px * view.zoom + view.x - size / 2, point.py * view.zoom + view.y - size / 2);
    pen.scale(size / 16, size / 16);
    pen.fillStyle = point.color;
    pen.fill(this.paths.get(point.key), "evenodd");
    pen.lineWidth = 1.3;
    pen.strokeStyle = edge;
    pen.stroke(this.paths.get(point.key));
    pen.restore();
  }

  nearest(x, y) {
    let best = null, least = REACH_PX ** 2;
    for (const point of this.points) {
      if (point.faint) continue;
      const away = (point.px * this.view.zoom + this.view.x - x) ** 2 + (point.py * this.view.zoom + this.view.y - y) ** 2;
      if (away < least) { best = point; least = away; }
    }
    return best;
  }

  press(event) {
    if (!this.lasso && !event.shiftKey) return false;
    this.canvas.setPointerCapture(event.pointerId);
    this.line = [[event.offsetX, event.offsetY]];
    return true;
  }

  release() {
    const { line } = this;
    this.line = null;
    if (!line) return;
    if (line.length > 2) {
      const inside = point => pointInside(line, point.px * this.view.zoom + this.view.x, point.py * this.view.zoom + this.view.y);
      this.select(this.points.filter(point => !point.faint && inside(point)).map(point => point.id));
    }
    this.view.redraw();
  }

  select(ids) {
    this.chosen = new Set(ids);
    this.choose([...this.chosen]);
    this.view.redraw();
  }

  listen() {
    this.canvas.addEventListener("pointermove", event => {
      if (this.line) { this.line.push([event.offsetX, event.offsetY]); this.view.redraw(); return; }
      const found = this.view.pointers.size ? null : this.nearest(event.offsetX, event.offsetY);
      if (found !== this.under) { this.under = found; this.view.redraw(); }
      this.hover(found, event.offsetX, event.offsetY);
    });
    this.canvas.addEventListener("pointerup", () => this.release());
    this.canvas.addEventListener("pointercancel", () => { this.line = null; this.view.redraw(); });
    this.canvas.addEventListener("pointerleave", () => { this.under = null; this.hover(null); this.view.redraw(); });
    this.canvas.addEventListener("click", event => {
      if (this.view.moved > 6 || this.lasso || event.shiftKey) return;
      const found = this.nearest(event.offsetX, event.offsetY);
      if (found) this.open(found);
    });
    this.canvas.addEventListener("keydown", event => {
      if (event.key !== "n" && event.key !== "p" && event.key !== "Enter") return;
      const seen = this.points.filter(point => !point.faint);
      if (!seen.length) return;
      if (event.key === "Enter") { if (this.under) this.open(this.under); return; }
      this.at = (this.at + (event.key === "n" ? 1 : -1) + seen.length) % seen.length;
      this.under = seen[this.at];
      this.hover(this.under, this.under.px * this.view.zoom + this.view.x, this.under.py * this.view.zoom + this.view.y);
      this.view.redraw();
      event.preventDefault();
    });
  }
}
