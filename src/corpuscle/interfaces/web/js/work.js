/** The session that the page works on, the classes of cells, and what all pages share of them. */
import { day, knowClasses, locale, t } from "./words.js";
import { get, remove, send, withQuery } from "./server.js";
import { remember, remembered } from "./memory.js";

/** The order in which a technician counts; the first nine have the keys 1 to 9, `not_a_cell` has 0. */
export const LABEL_ORDER = [
  "neutrophil", "lymphocyte", "monocyte", "eosinophil", "basophil", "immature_granulocyte", "erythroblast", "platelet",
  "erythrocyte",
];
export const FINER = ["segmented_neutrophil", "band_neutrophil", "promyelocyte", "myelocyte", "metamyelocyte"];
export const NOT_A_CELL = "not_a_cell";

/** Tells of `session` (another one, or its content), `cell` (detail: the changed cell) and `models`. */
export const bus = new EventTarget();
export const work = { sid: "", session: null, classes: [], defaultModel: "", detector: "" };
const byKey = new Map();

export function tell(kind, detail) { bus.dispatchEvent(new CustomEvent(kind, { detail })); }

/** Load the classes and go back to the session of the last visit, or to that of the address. */
export async function begin() {
  const asked = new URLSearchParams(location.search).get("s") || remembered("session");
  const opened = asked ? openSession(asked, { quiet: true }).catch(() => leaveSession()) : null;
  const { classes } = await get("/v1/taxonomy");
  work.classes = classes;
  for (const row of classes) byKey.set(row.key, row);
  knowClasses(classes);
  await opened;
}

export function classRow(key) { return byKey.get(key); }

export function className(key) {
  if (key === NOT_A_CELL) return t("class.not_a_cell");
  if (!key || key === "leukocyte") return t("class.leukocyte");
  const names = byKey.get(key)?.name;
  return names ? names[locale()] || names.en : key;
}

/** Sort keys of classes as a technician counts; unknown ones last. */
export function inOrder(keys) {
  const order = [...LABEL_ORDER, ...FINER, NOT_A_CELL];
  const place = key => (order.indexOf(key) + order.length) % order.length;
  return [...keys].sort((a, b) => place(a) - place(b));
}

/** Open a session; `quiet` leaves the page as it stands, since it is in the middle of something. */
export async function openSession(sid, { quiet = false } = {}) {
  work.session = await get(`/v1/sessions/${encodeURIComponent(sid)}`);
  work.sid = work.session.id;
  remember("session", work.sid);
  tell(quiet ? "line" : "session");
}

export function leaveSession() {
  work.sid = "";
  work.session = null;
  remember("session", "");
  tell("session");
}

export async function newSession(name = "", options = {}) {
  const made = await send("POST", "/v1/sessions", { name: name || t("session.unnamed", { day: day(new Date()) }) });
  await openSession(made.id, options);
  return made;
}

/** The session, made now if there is none. */
export async function anySession() {
  if (!work.sid) await newSession("", { quiet: true });
  return work.sid;
}

/** Read the session's own line again: its numbers change with every job and label. */
export async function refreshSession() {
  if (!work.sid) return;
  work.session = await get(`/v1/sessions/${work.sid}`);
  tell("line");
}

export const path = rest => `/v1/sessions/${work.sid}/${rest}`;

export async function imagesOf(kind) {
  if (!work.sid) return [];
  const { images } = await get(path("images"));
  return kind ? images.filter(image => image.kind === kind) : images;
}

export async function cellsOf(query = {}) {
  if (!work.sid) return [];
  return (await get(withQuery(path("cells"), query))).cells;
}

/** The cells that have names: all but erythrocytes, of which there may be very many. */
export async function namedCells() {
  const parts = await Promise.all(["leukocyte", "platelet"].map(kind => cellsOf({ kind, order: "number" })));
  return parts.flat();
}

export const summary = () => get(path("summary"));
export const forget = image => remove(`/v1/images/${image.id}`);

export const cropUrl = (cell, px = 160) => `/v1/cells/${cell.id}/crop.png?px=${px}`;
export const mapUrl = (cell, key) => `/v1/cells/${cell.id}/map.png?class=${encodeURIComponent(key)}`;
export const pictureUrl = image => `/v1/images/${image.id}/picture`;

/** Who labels: a name that the person gave, kept in this browser. */
export const who = () => remembered("who") || t("review.nobody");

function changed(cell) {
  tell("cell", cell);
  refreshSession().catch(() => {});
  return cell;
}

export const label = async (cell, key) => changed(await send("POST", `/v1/cells/${cell.id}/label`, { class: key, who: who() }));
export const confirm = async cell => changed(await send("POST", `/v1/cells/${cell.id}/confirm`, { who: who() }));

export async function labelMany(cells, key) {
  await send("POST", path("labels"), { cells: cells.map(cell => cell.id), class: key, who: who() });
  changed(null);
}

/** Take the last label back; returns what was undone, or null where there is nothing. */
export async function undo() {
  const { undone, cell, cells } = await send("POST", path("undo"), { who: who() });
  if (undone) changed(cells?.length > 1 ? null : cell);
  return { undone, cell };
}

/** The model chosen on the page of models; empty for the server's own. */
export const chosenModel = () => remembered("model");
export const chosenDetector = () => remembered("detector");
export function chooseModel(task, name) {
  remember(task === "detection" ? "detector" : "model", name);
  tell("models");
}

/** Doubt in [0, 1]: refused cells first, then those of the least confidence; what a person has seen comes last. */
export function doubt(cell) {
  if (cell.reviewed) return -1;
  return (cell.refused ? 1 : 0) + 1 - (cell.confidence ?? 1);
}
