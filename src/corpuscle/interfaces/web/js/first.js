// Runs before the first paint, so that neither colors nor language flash. Everything else is an ES module.
(() => {
  const root = document.documentElement;
  let theme = "system", locale = "";
  try {
    theme = localStorage.getItem("corpuscle.theme") || "system";
    locale = localStorage.getItem("corpuscle.locale") || "";
  } catch { /* Storage may be forbidden; the page works without memory. */ }
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = theme === "system" ? (dark ? "dark" : "light") : theme;
  if (locale) {
    root.lang = locale;
    const words = document.createElement("link");
    Object.assign(words, { rel: "preload", as: "fetch", href: `/static/locales/${locale}.json`, crossOrigin: "anonymous" });
    document.head.append(words);
  }
})();
