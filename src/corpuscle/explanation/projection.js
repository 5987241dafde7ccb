"use strict";
// Draws the map of cells on a canvas: no library, nothing loaded from outside.
const data = JSON.parse(document.getElementById("data").textContent);
const n = data.files.length, dims = data.dimensions;
const decode = (text, Type) => new Type(Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer);
const coords = decode(data.coordinates, Float32Array);
const probabilities = decode(data.probabilities, Uint8Array);
const canvas = document.getElementById("map"), pen = canvas.getContext("2d");
const tip = document.getElementById("tip"), byId = id => document.getElementById(id);
const screenX = new Float32Array(n), screenY = new Float32Array(n), depth = new Float32Array(n);
const shown = new Uint8Array(n).fill(1), chosen = new Uint8Array(n), matches = new Uint8Array(n);
const sheets = data.sheets.map(text => { const image = new Image(); image.src = text; return image; });
let mode = null, colorOf = new Uint16Array(n), palette = [], hidden = new Set();
let zoom = 1, panX = 0, panY = 0, turn = [1, 0, 0, 0, 1, 0, 0, 0, 1], width = 0, height = 0;
let lassoing = false, path = null, drag = null, hover = -1, waiting = false;
if (dims === 3) turn = multiply(rotation(0, 0.5), rotation(1, 0.5));

// The map is centered, and its farthest point lies at distance 1.
const center = [0, 0, 0];
for (let i = 0; i < n; i++) for (let d = 0; d < dims; d++) center[d] += coords[i * dims + d] / n;
let reach = 1e-9;
for (let i = 0; i < n; i++) {
  let far = 0;
  for (let d = 0; d < dims; d++) { coords[i * dims + d] -= center[d]; far += coords[i * dims + d] ** 2; }
  reach = Math.max(reach, Math.sqrt(far));
}
for (let i = 0; i < coords.length; i++) coords[i] /= reach;

function rotation(axis, angle) {
  const c = Math.cos(angle), s = Math.sin(angle);
  return axis === 0 ? [1, 0, 0, 0, c, -s, 0, s, c] : [c, 0, s, 0, 1, 0, -s, 0, c];
}
function multiply(a, b) {
  const out = new Array(9).fill(0);
  for (let r = 0; r < 3; r++) for (let c = 0; c < 3; c++) for (let k = 0; k < 3; k++) out[r * 3 + c] += a[r * 3 + k] * b[k * 3 + c];
  return out;
}
function project() {
  const scale = 0.46 * Math.min(width, height) * zoom, midX = width / 2 + panX, midY = height / 2 + panY;
  for (let i = 0; i < n; i++) {
    const x = coords[i * dims], y = coords[i * dims + 1], z = dims === 3 ? coords[i * dims + 2] : 0;
    screenX[i] = midX + scale * (turn[0] * x + turn[1] * y + turn[2] * z);
    screenY[i] = midY - scale * (turn[3] * x + turn[4] * y + turn[5] * z);
    depth[i] = turn[6] * x + turn[7] * y + turn[8] * z;
  }
}
function stamp(color, radius) {
  const ratio = window.devicePixelRatio || 1, side = Math.ceil((2 * radius + 2) * ratio), mark = document.createElement("canvas");
  mark.width = mark.height = side;
  const p = mark.getContext("2d");
  p.scale(ratio, ratio);
  p.beginPath(); p.arc(side / ratio / 2, side / ratio / 2, radius, 0, 7);
  p.fillStyle = color; p.fill(); p.lineWidth = 0.6; p.strokeStyle = "rgba(0,0,0,.35)"; p.stroke();
  return mark;
}
function draw() {
  waiting = false;
  project();
  pen.clearRect(0, 0, width, height);
  const radius = Math.max(2, Math.min(5, 110 / Math.sqrt(n))) * Math.min(2, Math.max(1, Math.sqrt(zoom)));
  const stamps = palette.map(color => stamp(color, radius)), size = 2 * radius + 2;
  const searching = byId("find").value !== "";
  let order = null;
  if (dims === 3) { order = Array.from({length: n}, (_, i) => i); order.sort((a, b) => depth[a] - depth[b]); }
  for (let k = 0; k < n; k++) {
    const i = order ? order[k] : k;
    if (!shown[i]) continue;
    pen.globalAlpha = searching && !matches[i] ? 0.12 : dims === 3 ? 0.55 + 0.45 * (depth[i] + 1) / 2 : 0.9;
    pen.drawImage(stamps[colorOf[i]], screenX[i] - size / 2, screenY[i] - size / 2, size, size);
  }
  pen.globalAlpha = 1;
  pen.lineWidth = 2;
  for (let i = 0; i < n; i++) {
    if (!shown[i] || !(chosen[i] || i === hover || (searching && matches[i]))) continue;
    pen.strokeStyle = chosen[i] ? "#c34c10" : "#1c232d";
    pen.beginPath(); pen.arc(screenX[i], screenY[i], radius + 2.5, 0, 7); pen.stroke();
  }
  if (path && path.length > 1) {
    pen.beginPath(); path.forEach(([x, y], k) => k ? pen.lineTo(x, y) : pen.moveTo(x, y)); pen.closePath();
    pen.fillStyle = "rgba(18,96,196,.10)"; pen.fill(); pen.strokeStyle = "#1260c4"; pen.lineWidth = 1.5; pen.stroke();
  }
}
function redraw() { if (!waiting) { waiting = true; requestAnimationFrame(draw); } }
function resize() {
  const ratio = window.devicePixelRatio || 1;
  width = canvas.clientWidth; height = canvas.clientHeight;
  canvas.width = width * ratio; canvas.height = height * ratio;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  redraw();
}
function setColors(name) {
  mode = data.colorings[name];
  colorOf = decode(mode.codes, Uint8Array);
  palette = mode.colors; hidden = new Set();
  const legend = byId("legend");
  legend.textContent = "";
  if (mode.ramp) {
    const ramp = document.createElement("div"), ends = document.createElement("p");
    ramp.id = "ramp"; ramp.style.background = `linear-gradient(90deg, ${palette.join(",")})`;
    ends.className = "muted"; ends.textContent = `${mode.names[0]} to ${mode.names[mode.names.length - 1]}`;
    legend.append(ramp, ends);
  } else {
    const counts = new Array(mode.names.length).fill(0);
    for (let i = 0; i < n; i++) counts[colorOf[i]]++;
    mode.names.forEach((text, code) => {
      if (!counts[code]) return;
      const row = document.createElement("label"), box = document.createElement("input"), dot = document.createElement("i");
      const words = document.createElement("span"), count = document.createElement("span");
      row.className = "key"; box.type = "checkbox"; box.checked = true; dot.style.background = palette[code];
      words.textContent = text; count.textContent = counts[code];
      box.addEventListener("change", () => { box.checked ? hidden.delete(code) : hidden.add(code); filter(); });
      row.append(box, dot, words, count); legend.append(row);
    });
  }
  filter();
}
function filter() { for (let i = 0; i < n; i++) shown[i] = hidden.has(colorOf[i]) ? 0 : 1; redraw(); }
function nearest(x, y) {
  let best = -1, least = 144;
  for (let i = 0; i < n; i++) {
    if (!shown[i]) continue;
    const away = (screenX[i] - x) ** 2 + (screenY[i] - y) ** 2;
    if (away < least || (away === least && depth[i] > depth[best])) { least = away; best = i; }
  }
  return best;
}
function showTip(i, x, y) {
  tip.style.display = i < 0 ? "none" : "block";
  if (i < 0) return;
  tip.textContent = "";
  const t = data.thumbnail, per = data.perSheet, place = i % (per * per), thumb = document.createElement("canvas");
  thumb.width = thumb.height = t;
  thumb.getContext("2d").drawImage(sheets[Math.floor(i / (per * per))], (place % per) * t, Math.floor(place / per) * t, t, t, 0, 0, t, t);
  const name = document.createElement("b");
  name.textContent = data.files[i];
  tip.append(thumb, name);
  const lines = [`label: ${data.labels[i] || "none"}`, `source: ${data.sources[i]}`];
  if (data.reasons[i]) lines.push(`refused: ${data.reasons[i]}`);
  for (const text of lines) { const p = document.createElement("p"); p.textContent = text; tip.append(p); }
  const k = data.classes.length, ranked = data.classes.map((text, c) => [probabilities[i * k + c] / 255, text]).sort((a, b) => b[0] - a[0]).slice(0, 4);
  for (const [value, text] of ranked) {
    const row = document.createElement("div"), words = document.createElement("em"), bar = document.createElement("u"), share = document.createElement("span");
    row.className = "bar"; words.textContent = text; bar.style.width = `${Math.round(80 * value)}px`; share.textContent = `${(100 * value).toFixed(1)} %`;
    row.append(words, bar, share); tip.append(row);
  }
  tip.style.left = `${Math.max(4, x + 270 > width ? x - 264 : x + 14)}px`;
  tip.style.top = `${Math.max(4, Math.min(y + 14, height - tip.offsetHeight - 6))}px`;
}
function inside(x, y) {
  let within = false;
  for (let a = 0, b = path.length - 1; a < path.length; b = a++) {
    const [ax, ay] = path[a], [bx, by] = path[b];
    if ((ay > y) !== (by > y) && x < (bx - ax) * (y - ay) / (by - ay) + ax) within = !within;
  }
  return within;
}
function choose() {
  let count = 0;
  for (let i = 0; i < n; i++) { chosen[i] = shown[i] && inside(screenX[i], screenY[i]) ? 1 : 0; count += chosen[i]; }
  byId("chosen").textContent = count ? `${count} chosen.` : "None chosen. Shift and drag draws, too.";
  byId("save").disabled = !count;
}
const quote = text => /[",\r\n]/.test(text) ? `"${String(text).replaceAll('"', '""')}"` : String(text);
function csv() {
  const k = data.classes.length, rows = ["file,label,class,confidence,source"];
  for (let i = 0; i < n; i++) if (chosen[i]) {
    rows.push([data.files[i], data.labels[i], data.classes[data.predictions[i]], data.confidences[i].toFixed(4), data.sources[i]].map(quote).join(","));
  }
  return rows.join("\n") + "\n";
}
canvas.addEventListener("pointerdown", event => {
  canvas.setPointerCapture(event.pointerId);
  if (lassoing || event.shiftKey) path = [[event.offsetX, event.offsetY]];
  else drag = {x: event.offsetX, y: event.offsetY, turns: dims === 3 && event.button === 0 && !event.ctrlKey};
  showTip(-1);
});
canvas.addEventListener("pointermove", event => {
  const x = event.offsetX, y = event.offsetY;
  if (path) { path.push([x, y]); redraw(); return; }
  if (drag) {
    if (drag.turns) turn = multiply(multiply(rotation(0, (y - drag.y) / 150), rotation(1, (x - drag.x) / 150)), turn);
    else { panX += x - drag.x; panY += y - drag.y; }
    drag.x = x; drag.y = y; redraw(); return;
  }
  const found = nearest(x, y);
  if (found !== hover) { hover = found; redraw(); }
  showTip(found, x, y);
});
function release() { if (path) { if (path.length > 2) choose(); path = null; redraw(); } drag = null; }
canvas.addEventListener("pointerup", release);
canvas.addEventListener("pointercancel", release);
canvas.addEventListener("pointerleave", () => { hover = -1; showTip(-1); redraw(); });
canvas.addEventListener("contextmenu", event => event.preventDefault());
function zoomBy(factor, x, y) {
  const next = Math.min(200, Math.max(0.3, zoom * factor)), change = next / zoom;
  panX = (panX + width / 2 - x) * change + x - width / 2; panY = (panY + height / 2 - y) * change + y - height / 2;
  zoom = next; redraw();
}
canvas.addEventListener("wheel", event => { event.preventDefault(); zoomBy(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY); }, {passive: false});
canvas.addEventListener("keydown", event => {
  const moves = {ArrowLeft: [30, 0], ArrowRight: [-30, 0], ArrowUp: [0, 30], ArrowDown: [0, -30]};
  if (event.key === "+" || event.key === "-") zoomBy(event.key === "+" ? 1.25 : 0.8, width / 2, height / 2);
  else if (moves[event.key]) { panX += moves[event.key][0]; panY += moves[event.key][1]; redraw(); }
  else return;
  event.preventDefault();
});
byId("lasso").addEventListener("click", event => {
  lassoing = !lassoing; event.target.setAttribute("aria-pressed", lassoing); canvas.classList.toggle("lasso", lassoing);
});
byId("save").addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv()], {type: "text/csv"})); link.download = "chosen_cells.csv"; link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});
byId("find").addEventListener("input", event => {
  const wanted = event.target.value.toLowerCase();
  let count = 0;
  for (let i = 0; i < n; i++) { matches[i] = wanted && data.files[i].toLowerCase().includes(wanted) ? 1 : 0; count += matches[i]; }
  byId("found").textContent = wanted ? `${count} found` : "";
  redraw();
});
byId("reset").addEventListener("click", () => { zoom = 1; panX = panY = 0; redraw(); });
byId("about").textContent = data.about;
byId("help").textContent = dims === 3 ? "Drag turns, right button or Ctrl moves, wheel zooms." : "Drag moves, wheel zooms.";
for (const name of Object.keys(data.colorings)) byId("color").append(new Option(name, name));
byId("color").addEventListener("change", event => setColors(event.target.value));
window.addEventListener("resize", resize);
setColors(Object.keys(data.colorings)[0]);
resize();
