/** Every request of the page goes through here, and all of them stay on this server. */
import { sentence, t } from "./words.js";

/** A refusal of the server; `message` is one sentence in the chosen language. */
export class ServerError extends Error {
  constructor(status, code, message, retryAfter = 0) {
    super(message);
    Object.assign(this, { status, code, retryAfter });
  }
}

const HEADERS = { "X-Corpuscle": "1" };
const MOST_BYTES = 24 * 2 ** 20;
const MOST_FILES = 100;
const MOST_WAITS = 20;
let askToken = null;

/** Say who asks the user for the token when the server wants one. */
export function onLocked(ask) { askToken = ask; }

async function failure(answer) {
  let code = "", message = "";
  try {
    const body = await answer.json();
    code = body.error?.code || "";
    message = body.error?.message || "";
  } catch { /* No JSON: a proxy's page, or nothing at all. */ }
  return new ServerError(answer.status, code, sentence(message) || t("error.status", { status: answer.status }),
    Number(answer.headers.get("Retry-After")) || 0);
}

async function ask(path, options = {}, tries = 0) {
  let answer;
  try {
    answer = await fetch(path, { credentials: "same-origin", ...options, headers: { ...HEADERS, ...options.headers } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError(0, "unreachable", t("error.unreachable"));
  }
  if (answer.status === 401 && askToken && tries < 3 && !path.endsWith("/login")) {
    await askToken(tries > 0);
    return ask(path, options, tries + 1);
  }
  if (answer.status === 429 && tries < MOST_WAITS) {
    const wait = Math.min(10, Number(answer.headers.get("Retry-After")) || 1);
    await new Promise(resolve => setTimeout(resolve, 1000 * wait));
    return ask(path, options, tries + 1);
  }
  if (!answer.ok) throw await failure(answer);
  return answer;
}

async function json(path, options) {
  const answer = await ask(path, options);
  return answer.status === 204 ? null : answer.json();
}

export const get = (path, signal) => json(path, { signal });

export function send(method, path, body) {
  const given = body === undefined ? {} : { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
  return json(path, { method, ...given });
}

export const remove = path => send("DELETE", path);

/** Add what is set of `query` to a path. */
export function withQuery(path, query = {}) {
  const pairs = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return pairs.length ? `${path}?${new URLSearchParams(pairs)}` : path;
}

let limits = null;

/** Cut files into uploads that the server's limits allow. */
export async function portions(files) {
  limits ??= (await get("/v1/version")).limits || {};
  const mostBytes = Math.min(MOST_BYTES, 0.9e6 * (limits.upload_mb || Infinity));
  const mostFiles = Math.min(MOST_FILES, limits.files || MOST_FILES);
  const parts = [];
  let bytes = 0;
  for (const file of files) {
    const fresh = !parts.length || parts.at(-1).length >= mostFiles || bytes + file.size > mostBytes;
    if (fresh) { parts.push([]); bytes = 0; }
    parts.at(-1).push(file);
    bytes += file.size;
  }
  return parts;
}

/** Send files; returns the server's JSON. */
export function upload(path, files) {
  const form = new FormData();
  for (const file of files) form.append("files", file, file.name || "picture.png");
  return json(path, { method: "POST", body: form });
}

const ENDED = new Set(["done", "failed", "cancelled"]);

/** Follow a job to its end; `tell` gets each state on the way. */
export function follow(job, tell) {
  tell(job);
  if (ENDED.has(job.state)) return Promise.resolve(job);
  return new Promise(resolve => {
    const stream = new EventSource(`/v1/jobs/${job.id}/events`);
    const end = state => { stream.close(); resolve(state); };
    stream.onmessage = event => {
      const state = JSON.parse(event.data);
      tell(state);
      if (ENDED.has(state.state)) end(state);
    };
    // A stream may be cut by a proxy; then the state is asked for once a second.
    stream.onerror = () => { stream.close(); poll(job.id, tell).then(resolve); };
  });
}

async function poll(id, tell) {
  for (;;) {
    let state;
    try { state = await get(`/v1/jobs/${id}`); }
    catch (error) { return { id, state: "failed", done: 0, total: 0, message: error.message, failures: [], image_ids: [] }; }
    tell(state);
    if (ENDED.has(state.state)) return state;
    await new Promise(resolve => setTimeout(resolve, 1000));
  }
}

/** Fetch a file and hand it to the browser to save; the server's own name for it is kept. */
export async function download(path, fallbackName) {
  const answer = await ask(path);
  const header = answer.headers.get("Content-Disposition") || "";
  const name = /filename="?([^";]+)"?/.exec(header)?.[1] || fallbackName;
  save(await answer.blob(), name);
  return name;
}

export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 2000);
}
