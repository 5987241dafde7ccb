/** One shape and one color a class, the same on every page: nobody has to tell classes by color alone. */
import { h, s } from "../elements.js";
import { className, classRow, NOT_A_CELL } from "../work.js";

// In a square of 16; the areas look alike.
const SHAPES = {
  circle: "M8 1.8a6.2 6.2 0 1 0 0 12.4a6.2 6.2 0 1 0 0-12.4z",
  square: "M2.4 2.4h11.2v11.2h-11.2z",
  up: "M8 1.2 15 14H1z",
  diamond: "M8 .8 15.200 8 8 15.200.8 8z",
  down: "M1 2h14L8 14.800z",
  hexagon: "M4.200 1.500h7.600L15.400 8l-3.600 6.500H4.200L.6 8z",
  plus: "M5.500 1.200h5v4.300h4.300v5h-4.300v4.300h-5v-4.300H1.200v-5h4.300z",
  star: "M8 .6l2.200 4.900 5.300.600-3.900 3.600 1.100 5.200L8 12.300l-4.700 2.600 1.100-5.200L.5 6.100l5.300-.6z",
  ring: "M8 1.5a6.500 6.500 0 1 0 0 13a6.500 6.500 0 1 0 0-13zm0 4a2.500 2.500 0 1 1 0 5a2.500 2.500 0 1 1 0-5z",
  half: "M8 1.500a6.500 6.500 0 0 1 6.500 6.500c0 3.600-3 6.500-6.500 6.500-1.500 0-1-2.500.5-3.300 2.400-1.200 2.400-5.200 0-6.400C7 4 6.500 1.500 8 1.500z",
  tall: "M4.800 1h6.400v14H4.800z",
  wide: "M1 4.800h14v6.400H1z",
  right: "M2 1 14.800 8 2 15z",
  left: "M14 1 1.200 8 14 15z",
  cross: "M3.200.9 8 5.700 12.800.9l2.300 2.300L10.300 8l4.800 4.800-2.300 2.300L8 10.300l-4.800 4.800L.9 12.800 5.700 8 .9 3.200z",
};
const SHAPE_OF = {
  neutrophil: "circle", lymphocyte: "square", monocyte: "up", eosinophil: "diamond", basophil: "down",
  immature_granulocyte: "hexagon", erythroblast: "plus", platelet: "star", erythrocyte: "ring",
  segmented_neutrophil: "half", band_neutrophil: "tall", promyelocyte: "wide", myelocyte: "right",
  metamyelocyte: "left", [NOT_A_CELL]: "cross",
};
const GRAY = "#8a939e";

export const colorOf = key => classRow(key)?.color || GRAY;
export const shapeOf = key => SHAPES[SHAPE_OF[key] || "circle"];

/** The mark of a class; decoration beside its name. */
export function mark(key, extra = "") {
  return s("svg", { class: `mark ${extra}`, viewBox: "0 0 16 16", "aria-hidden": "true" },
    s("path", { d: shapeOf(key), fill: colorOf(key), "fill-rule": "evenodd" }));
}

/** Mark and name of a class. */
export function named(key, extra = "") {
  return h("span", { class: `named ${extra}` }, mark(key), h("span", {}, className(key)));
}

/** Refused, and no person has said what it is. */
export const stillRefused = cell => cell.refused && !cell.label;
