/** Dialogs: sessions, shortcuts, and the token that a server may want. */
import { button, h, iconButton, show } from "../elements.js";
import { moment, t } from "../words.js";
import { get, remove, send } from "../server.js";
import { leaveSession, newSession, openSession, refreshSession, work } from "../work.js";
import { complain, say } from "./toasts.js";

/** Open a modal dialog; it is gone from the page once it is closed. */
export function dialog(title, ...body) {
  const box = h("dialog", { class: "dialog", "aria-label": title },
    h("div", { class: "dialog-head" }, h("h2", {}, title), iconButton("close", t("word.close"), () => box.close())),
    h("div", { class: "dialog-body" }, body));
  box.addEventListener("close", () => box.remove());
  box.addEventListener("click", event => { if (event.target === box) box.close(); });
  document.body.append(box);
  box.showModal();
  return box;
}

/** Ask for one line of text; resolves to it, or to null where the person thinks better of it. */
export function askText(title, words, value = "", { type = "text", ok = t("word.save"), hint = "" } = {}) {
  return new Promise(resolve => {
    let answer = null;
    const field = h("input", { type, value, id: "asked", autocomplete: type === "password" ? "current-password" : "off", maxlength: "200" });
    const form = h("form", { method: "dialog", class: "form", on: { submit: event => {
      event.preventDefault();
      answer = field.value.trim();
      box.close();
    } } }, h("label", { for: "asked" }, words), field, hint ? h("p", { class: "caution-text small", role: "alert" }, hint) : null,
    h("div", { class: "row end" }, button(t("word.cancel"), { onclick: () => box.close() }),
      h("button", { type: "submit", class: "button primary" }, ok)));
    const box = dialog(title, form);
    box.addEventListener("close", () => resolve(answer));
    field.focus();
    field.select();
  });
}

/** Ask yes or no about something that cannot be taken back. */
export function askSure(title, words, ok) {
  return new Promise(resolve => {
    let sure = false;
    const box = dialog(title, h("p", {}, words), h("div", { class: "row end" },
      button(t("word.cancel"), { onclick: () => box.close() }),
      button(ok, { kind: "danger", onclick: () => { sure = true; box.close(); } })));
    box.addEventListener("close", () => resolve(sure));
  });
}

function sessionRow(row, box, again) {
  const here = row.id === work.sid;
  const numbers = [
    row.n_fields ? t("session.fields", { n: row.n_fields }) : "", row.n_crops ? t("session.crops", { n: row.n_crops }) : "",
    t("session.cells", { n: row.n_cells }), row.reviewed ? t("session.reviewed") : "",
  ].filter(Boolean).join(" · ");
  const rename = async () => {
    const name = await askText(t("session.rename"), t("session.name"), row.name);
    if (!name) return;
    await send("PATCH", `/v1/sessions/${row.id}`, { name });
    if (here) await refreshSession();
    again();
  };
  const forget = async () => {
    if (!await askSure(t("session.delete"), t("session.delete_sure", { name: row.name }), t("session.delete"))) return;
    await remove(`/v1/sessions/${row.id}`);
    if (here) leaveSession();
    say(t("session.deleted", { name: row.name }));
    again();
  };
  return h("li", { class: `session-row ${here ? "here" : ""}` },
    h("button", { type: "button", class: "session-open", "aria-current": here ? "true" : null,
      on: { click: () => openSession(row.id).then(() => box.close(), complain) } },
    h("span", { class: "strong" }, row.name || "–"), h("span", { class: "muted small" }, `${moment(row.changed)} · ${numbers}`)),
    iconButton("edit", t("session.rename_this", { name: row.name }), () => rename().catch(complain)),
    iconButton("trash", t("session.delete_this", { name: row.name }), () => forget().catch(complain)));
}

/** The list of sessions: open, make, rename, delete. */
export function sessionDialog() {
  const list = h("ul", { class: "session-list" }, h("li", { class: "skeleton tall" }));
  const box = dialog(t("session.title"), h("p", { class: "muted small" }, t("session.means")),
    h("div", { class: "row" }, button(t("session.new"), { icon: "plus", kind: "primary", onclick: () => newSession().then(() => box.close(), complain) })),
    list);
  const again = async () => {
    try {
      const { sessions } = await get("/v1/sessions");
      show(list, sessions.length ? sessions.map(row => sessionRow(row, box, again)) : h("li", { class: "muted" }, t("session.none")));
    } catch (error) { show(list, h("li", { class: "caution-text" }, error.message)); }
  };
  again();
}

const SHORTCUTS = {
  anywhere: [["?", "keys"], ["g c", "go_cell"], ["g f", "go_field"], ["g r", "go_review"], ["g m", "go_map"], ["g o", "go_models"]],
  gallery: [["← ↑ → ↓", "move"], ["Enter", "open"]],
  field: [["+ −", "zoom"], ["0", "fit"], ["← ↑ → ↓", "pan"], ["n p", "next_cell"]],
  review: [["1 … 9", "label"], ["0", "not_a_cell"], ["Enter", "confirm"], ["s", "skip"], ["b", "back"], ["u", "undo"]],
  map: [["+ −", "zoom"], ["← ↑ → ↓", "pan"], ["n p", "next_cell"], ["Enter", "open"], ["Shift", "lasso"]],
};

/** The list of all keys. */
export function shortcutDialog() {
  dialog(t("keys.title"), h("div", { class: "shortcut-groups" }, Object.entries(SHORTCUTS).map(([group, rows]) => h("section", {},
    h("h3", {}, t(`keys.group.${group}`)),
    h("dl", { class: "shortcuts" }, rows.map(([stroke, name]) => [
      h("dt", {}, stroke.split(" ").map(each => h("kbd", {}, each))), h("dd", {}, t(`keys.${name}`))]))))));
}

let asking = null;

/** Ask for the server's token until it is right; several requests that wait for it ask once. */
export function askToken(again) {
  asking ??= (async () => {
    try {
      const token = await askText(t("login.title"), t("login.words"), "", {
        type: "password", ok: t("login.enter"), hint: again ? t("login.wrong") : "" });
      if (token) await send("POST", "/v1/login", { token }).catch(() => {});
    } finally { asking = null; }
  })();
  return asking;
}

