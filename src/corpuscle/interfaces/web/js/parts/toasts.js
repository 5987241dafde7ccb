/** Short messages that come and go; also read out by screen readers. */
import { button, h, iconButton } from "../elements.js";
import { t } from "../words.js";

const STAY_MS = 6000;

/** Say something; `action` is `{words, run}` for one button. */
export function say(words, { kind = "", action = null, stay = STAY_MS } = {}) {
  const place = document.getElementById("toasts");
  const end = () => note.remove();
  const note = h("div", { class: `toast ${kind}` }, h("p", {}, words),
    action ? button(action.words, { kind: "small", onclick: () => { end(); action.run(); } }) : null,
    iconButton("close", t("word.close"), end));
  place.append(note);
  while (place.children.length > 3) place.firstChild.remove();
  if (stay) setTimeout(end, stay);
}

/** Say what went wrong, in the words of the error. */
export function complain(error) {
  if (error?.name === "AbortError") return;
  if (!error?.status && error?.status !== 0) console.error(error);
  say(error?.message || String(error), { kind: "error", stay: 12000 });
}
