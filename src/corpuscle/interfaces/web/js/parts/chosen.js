/** Cells that one page hands to the next, such as those chosen on the map for a review. */
let chosen = null;

export function handOver(ids) { chosen = new Set(ids); }

/** The cells handed over, once. */
export function takeChosen() {
  const given = chosen;
  chosen = null;
  return given;
}
