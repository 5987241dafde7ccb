/**
 * The languages of the page, in one place. A further one needs a row here and a file `locales/CODE.json` with the same
 * keys; `sentences` names the file that turns the server's English sentences into it, empty where none is needed.
 */
export const LOCALES = [
  { code: "en", name: "English", sentences: "" },
  { code: "es", name: "Español", sentences: "es.sentences.json" },
];

export const FALLBACK = "en";
