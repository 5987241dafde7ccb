// Runs the script of a map page against a made-up document: node page_stub.js map.html
const vm = require("vm"), fs = require("fs");
const page = fs.readFileSync(process.argv[2], "utf8");
const text = page.match(/<script id="data" type="application\/json">([\s\S]*?)<\/script>/)[1];
const script = page.match(/<script>\n([\s\S]*?)<\/script>/)[1];
const elements = {};
let drawn = 0;
const pen = new Proxy({}, {get: (t, k) => k === "drawImage" ? () => { drawn++; } : () => {}, set: () => true});
function element(id) {
  return {id, value: "", style: {}, classList: {toggle() {}}, clientWidth: 800, clientHeight: 600, children: [], on: {},
    getContext: () => pen, setAttribute() {}, setPointerCapture() {}, append(...x) { this.children.push(...x); },
    addEventListener(name, call) { this.on[name] = call; }, click() { this.clicked = true; }, offsetHeight: 10};
}
const document = {getElementById: id => elements[id] ??= element(id), createElement: element};
document.getElementById("data").textContent = text;
const saved = [];
const context = {document, window: {devicePixelRatio: 1, addEventListener() {}}, atob, Uint8Array, Uint16Array, Float32Array, Math, Set, console,
  Image: class {}, Option: class {}, Blob: class { constructor(x) { saved.push(x[0]); } }, URL: {createObjectURL: () => "", revokeObjectURL() {}},
  requestAnimationFrame: call => call(), setTimeout() {}, JSON};
vm.createContext(context);
vm.runInContext(script, context);
const first = drawn, map = elements.map;
const go = (kind, x, y, more) => map.on[kind]({offsetX: x, offsetY: y, pointerId: 1, button: 0, preventDefault() {}, ...more});
go("pointermove", 400, 300); go("wheel", 400, 300, {deltaY: -50}); go("pointerdown", 10, 10); go("pointermove", 60, 30); go("pointerup", 60, 30);
elements.reset.on.click();
go("pointerdown", 0, 0, {shiftKey: true}); go("pointermove", 800, 0); go("pointermove", 800, 600); go("pointermove", 0, 600); go("pointerup", 0, 600);
elements.save.on.click();
elements.find.value = "platelet"; elements.find.on.input({target: elements.find});
for (const name of Object.keys(JSON.parse(text).colorings)) elements.color.on.change({target: {value: name}});
console.log(JSON.stringify({first, csv: saved[0], found: elements.found.textContent, chosen: elements.chosen.textContent, tip: elements.tip.children.length}));
