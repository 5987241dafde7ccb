/** Where pictures come in: dropped, pasted, chosen, a folder, or drawn examples; and the job that reads them. */
import { button, freshId, h, show } from "../elements.js";
import { number, sentence, t } from "../words.js";
import { anySession, chooseModel, chosenDetector, chosenModel, path, refreshSession } from "../work.js";
import { follow, get, portions, remove, send, upload, withQuery } from "../server.js";
import { complain } from "./toasts.js";

const PICTURES = "image/png,image/jpeg,image/tiff,image/webp,image/bmp,.tif,.tiff";
const NAME = /\.(bmp|jpe|jpe?g|png|tiff?|webp)$/i;

/** A model that was chosen once may be gone from this server; then the server's own reads. */
async function forgetGoneModels() {
  if (!chosenModel() && !chosenDetector()) return;
  const { models } = await get("/v1/models");
  const names = new Set(models.map(row => row.name));
  if (!names.has(chosenModel())) chooseModel("classification", "");
  if (!names.has(chosenDetector())) chooseModel("detection", "");
}

async function entriesOf(transfer) {
  const entries = [...transfer.items].map(item => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some(entry => entry.isDirectory)) return [...transfer.files];
  const files = [];
  const walk = async entry => {
    if (entry.isFile) {
      const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
      if (NAME.test(file.name)) files.push(file);
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const part = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!part.length) return;
      for (const each of part) await walk(each);
    }
  };
  for (const entry of entries) await walk(entry);
  return files;
}

/**
 * Make the place where pictures come in.
 * `kind` is `crops` or `field`; `ondone(ids)` is called with the new pictures; `query()` gives more for the upload.
 */
export function intake({ kind, ondone, query = () => ({}), small = false, signal }) {
  const id = freshId("intake");
  const status = h("div", { class: "intake-status", role: "status", "aria-live": "polite" });
  const file = h("input", { type: "file", id, multiple: true, accept: PICTURES, class: "visually-hidden", tabindex: "-1",
    "aria-label": t(`intake.choose_${kind}`), on: { change: () => { take([...file.files]); file.value = ""; } } });
  const folder = h("input", { type: "file", webkitdirectory: true, class: "visually-hidden", tabindex: "-1",
    "aria-label": t("intake.folder"),
    on: { change: () => { take([...folder.files].filter(each => NAME.test(each.name))); folder.value = ""; } } });
  const zone = h("div", { class: `intake ${small ? "small" : ""}` },
    h("div", { class: "intake-words" }, h("p", { class: "intake-title" }, t(`intake.title_${kind}`)),
      h("p", { class: "muted small" }, t("intake.ways"))),
    h("div", { class: "row" },
      button(t(`intake.choose_${kind}`), { icon: "drop", kind: "primary", onclick: () => file.click() }),
      button(t("intake.folder"), { icon: "folder", onclick: () => folder.click() }),
      button(t(`intake.example_${kind}`), { icon: "example", onclick: example })),
    file, folder, status);

  const state = { job: null, busy: false, stopped: false };
  const routes = { crops: "crops", field: "fields" };
  const models = () => (kind === "crops" ? { model: chosenModel() } : { model: chosenModel(), detector: chosenDetector() });

  function tell(job, before, all) {
    state.job = job;
    const done = before + (job.done || 0), total = Math.max(all, before + (job.total || 0));
    const bar = h("progress", { max: total || 1, value: job.state === "waiting" ? null : done, "aria-label": t("intake.progress") });
    if (job.state === "waiting") bar.removeAttribute("value");
    show(status, h("div", { class: "job" }, bar,
      h("span", {}, t(job.state === "waiting" ? "intake.waiting" : "intake.reading", { done: number(done), total: number(total) })),
      button(t("word.cancel"), { kind: "small", onclick: cancel })));
  }
  function cancel() {
    state.stopped = true;
    if (state.job) remove(`/v1/jobs/${state.job.id}`).catch(complain);
  }
  function report(failures, message) {
    if (!failures.length && !message) return show(status);
    return show(status, h("div", { class: "notice caution" }, h("div", {},
      message ? h("p", {}, sentence(message)) : null,
      failures.length ? h("p", {}, t("intake.failed", { n: failures.length })) : null,
      h("ul", { class: "notes small" }, failures.slice(0, 20).map(each => h("li", {}, sentence(each.reason)))),
      failures.length > 20 ? h("p", { class: "small" }, t("intake.failed_more", { n: failures.length - 20 })) : null)));
  }
  /** Run one job after the other; `plan` gives a function for each that starts it. */
  async function run(plan, all) {
    if (state.busy) return;
    Object.assign(state, { busy: true, stopped: false });
    zone.classList.add("busy");
    const failures = [], ids = [];
    let before = 0, message = "";
    try {
      await anySession();
      show(status, h("div", { class: "job" }, h("progress", { "aria-label": t("intake.progress") }), h("span", {}, t("intake.sending"))));
      await forgetGoneModels();
      for (const start of await plan()) {
        if (state.stopped) break;
        const { job } = await start();
        const end = await follow(job, each => tell(each, before, all));
        before += end.total || 0;
        failures.push(...(end.failures || []));
        ids.push(...(end.image_ids || []));
        if (end.state === "failed") message = end.message || t("intake.job_failed");
      }
      report(failures, message);
    } catch (error) {
      report([], error.message);
    } finally {
      state.busy = false;
      zone.classList.remove("busy");
    }
    await refreshSession().catch(() => {});
    if (ids.length) ondone(ids);
  }
  function take(files) {
    if (!files.length) return;
    const where = () => withQuery(path(routes[kind]), { ...models(), ...query() });
    run(async () => (await portions(files)).map(part => () => upload(where(), part)), files.length);
  }
  function example() {
    run(() => [() => send("POST", withQuery(path("examples"), models()), { kind })], 0);
  }
  listen(zone, take, signal);
  return { element: zone, take };
}

/** Take what is dropped anywhere on the page, or pasted. */
function listen(zone, take, signal) {
  let depth = 0;
  const over = on => zone.classList.toggle("over", on);
  const carries = event => [...(event.dataTransfer?.types || [])].includes("Files");
  const on = (kind, run) => window.addEventListener(kind, run, { signal });
  on("dragenter", event => { if (carries(event)) { event.preventDefault(); depth += 1; over(true); } });
  on("dragover", event => { if (carries(event)) event.preventDefault(); });
  on("dragleave", event => { if (carries(event)) { depth = Math.max(0, depth - 1); over(depth > 0); } });
  on("drop", async event => {
    if (!carries(event)) return;
    event.preventDefault();
    depth = 0;
    over(false);
    take(await entriesOf(event.dataTransfer).catch(() => [...event.dataTransfer.files]));
  });
  on("paste", event => {
    const files = [...(event.clipboardData?.files || [])].filter(each => each.type.startsWith("image/"));
    if (files.length) { event.preventDefault(); take(files); }
  });
}
