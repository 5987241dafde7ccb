/** What a canvas shows of a plane: moved and zoomed by wheel, one or two fingers, or keys. */

const KEYS = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };

/**
 * Let a canvas be moved and zoomed.
 * `size()` gives width and height of the plane; `draw()` is called at most once a frame; `hold(event)` may take a press
 * for itself by returning true.
 */
export class Viewport {
  constructor(canvas, { size, draw, press = () => false, most = 40 }) {
    Object.assign(this, { canvas, size, press, most, zoom: 1, x: 0, y: 0, least: 0.01, width: 1, height: 1 });
    this.pen = canvas.getContext("2d");
    this.pointers = new Map();
    this.moved = 0;
    this.waiting = false;
    this.paint = draw;
    this.fitted = true;
    this.watcher = new ResizeObserver(() => this.resize());
    this.watcher.observe(canvas);
    this.listen();
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    this.width = this.canvas.clientWidth;
    this.height = this.canvas.clientHeight;
    this.canvas.width = Math.round(this.width * ratio);
    this.canvas.height = Math.round(this.height * ratio);
    if (this.fitted) this.fit(); else this.redraw();
  }

  fit() {
    const [across, down] = this.size();
    if (!across || !down || !this.width) return;
    this.least = Math.min(this.width / across, this.height / down);
    this.zoom = this.least;
    this.x = (this.width - across * this.zoom) / 2;
    this.y = (this.height - down * this.zoom) / 2;
    this.fitted = true;
    this.redraw();
  }

  /** Bring a box of the plane to the middle, at a zoom at which it can be looked at; nothing moves if it can be already. */
  focus([x0, y0, x1, y1], { share = 0.25 } = {}) {
    const left = x0 * this.zoom + this.x, top = y0 * this.zoom + this.y;
    const right = x1 * this.zoom + this.x, bottom = y1 * this.zoom + this.y;
    const large = Math.max(right - left, bottom - top) > 0.08 * Math.min(this.width, this.height);
    if (large && left > -9 && top > -9 && right < this.width + 9 && bottom < this.height + 9) { this.redraw(); return; }
    const wanted = share * Math.min(this.width, this.height) / Math.max(x1 - x0, y1 - y0);
    if (this.zoom < wanted * 0.6) this.zoom = Math.min(this.most, wanted);
    this.x = this.width / 2 - this.zoom * (x0 + x1) / 2;
    this.y = this.height / 2 - this.zoom * (y0 + y1) / 2;
    this.fitted = false;
    this.redraw();
  }

  zoomBy(factor, x = this.width / 2, y = this.height / 2) {
    const next = Math.min(this.most, Math.max(this.least * 0.5, this.zoom * factor)), change = next / this.zoom;
    this.x = x - (x - this.x) * change;
    this.y = y - (y - this.y) * change;
    this.zoom = next;
    this.fitted = false;
    this.redraw();
  }

  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.fitted = false;
    this.redraw();
  }

  toPlane(x, y) { return [(x - this.x) / this.zoom, (y - this.y) / this.zoom]; }

  redraw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      const ratio = this.canvas.width / Math.max(1, this.width);
      this.pen.setTransform(ratio, 0, 0, ratio, 0, 0);
      this.pen.clearRect(0, 0, this.width, this.height);
      this.paint(this.pen, this);
    });
  }

  listen() {
    const on = (kind, run, options) => this.canvas.addEventListener(kind, run, options);
    on("wheel", event => {
      event.preventDefault();
      this.zoomBy(Math.exp(-event.deltaY / (event.ctrlKey ? 120 : 400)), event.offsetX, event.offsetY);
    }, { passive: false });
    on("pointerdown", event => {
      if (this.press(event)) return;
      this.canvas.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
      if (this.pointers.size === 1) this.moved = 0;
    });
    on("pointermove", event => this.move(event));
    const end = event => this.pointers.delete(event.pointerId);
    on("pointerup", end);
    on("pointercancel", end);
    on("keydown", event => this.key(event));
    on("dblclick", event => this.zoomBy(2, event.offsetX, event.offsetY));
  }

  move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const now = [event.offsetX, event.offsetY];
    this.moved += Math.hypot(now[0] - before[0], now[1] - before[1]);
    if (this.pointers.size === 1) this.pan(now[0] - before[0], now[1] - before[1]);
    else {
      const other = [...this.pointers].find(([id]) => id !== event.pointerId)[1];
      const apart = at => Math.max(1, Math.hypot(at[0] - other[0], at[1] - other[1]));
      this.pan((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
      this.zoomBy(apart(now) / apart(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
    }
    this.pointers.set(event.pointerId, now);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "+" || event.key === "=") this.zoomBy(1.3);
    else if (event.key === "-") this.zoomBy(1 / 1.3);
    else if (event.key === "0") this.fit();
    else if (KEYS[event.key]) this.pan(...KEYS[event.key]);
    else return;
    event.preventDefault();
  }

  end() { this.watcher.disconnect(); }
}
