/** What the browser keeps between visits: language, theme, the last session, the reviewer's name. */
const PREFIX = "corpuscle.";

export function remembered(name) {
  try { return localStorage.getItem(PREFIX + name) || ""; } catch { return ""; }
}

export function remember(name, value) {
  try {
    if (value) localStorage.setItem(PREFIX + name, value); else localStorage.removeItem(PREFIX + name);
  } catch { /* Storage may be forbidden; the page works without memory. */ }
}
