/** A menu of everything that can be saved of a session. */
import { h, icon } from "../elements.js";
import { t } from "../words.js";
import { path, work } from "../work.js";
import { download } from "../server.js";
import { complain, say } from "./toasts.js";

export const EXPORTS = ["report.html", "report.pdf", "cells.csv", "cells.json", "counts.csv", "differential.json", "coco.json",
  "geojson.zip", "dataset.zip", "log.csv", "map.csv"];

/** A button that opens a list of files; `files` says which. */
export function exportMenu(files = EXPORTS) {
  const box = h("details", { class: "menu" }, h("summary", { class: "button" }, icon("save"), h("span", {}, t("export.title")), icon("down", "tiny")));
  const fetchOne = async name => {
    box.open = false;
    try {
      say(t("export.making", { name }), { stay: 3000 });
      await download(path(`export/${name}`), name);
    } catch (error) { complain(error); }
  };
  box.append(h("ul", { class: "menu-list" }, files.map(name => h("li", {},
    h("button", { type: "button", class: "menu-item", disabled: !work.sid, on: { click: () => fetchOne(name) } },
      h("code", {}, name), h("span", { class: "muted small" }, t(`export.${name.replace(".", "_")}`)))))));
  closeOutside(box);
  return box;
}

/** Close an open menu by Escape, or when something else is used. */
export function closeOutside(box) {
  box.addEventListener("keydown", event => {
    if (event.key !== "Escape" || !box.open) return;
    box.open = false;
    box.querySelector("summary").focus();
    event.stopPropagation();
  });
  box.addEventListener("focusout", event => { if (event.relatedTarget && !box.contains(event.relatedTarget)) box.open = false; });
  box.addEventListener("toggle", () => {
    if (!box.open) return;
    const list = box.querySelector(".menu-list");
    list.classList.remove("up");
    const { top, bottom } = list.getBoundingClientRect();
    list.classList.toggle("up", bottom > innerHeight && top - list.offsetHeight > 60);
    const away = event => { if (!box.contains(event.target)) { box.open = false; document.removeEventListener("pointerdown", away); } };
    document.addEventListener("pointerdown", away);
  });
}
