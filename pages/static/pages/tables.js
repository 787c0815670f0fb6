// Tables that show what the API lists.
import { request } from "./api.js";
import { at, el, fullTime } from "./dom.js";
import { guarded } from "./toasts.js";

export const BASE = "/v1/chat";
export const when = (iso, otherwise = "—") => (iso ? fullTime(iso) : otherwise);
export const cell = (text, kind = "") => el("td", { class: kind, dir: "auto" }, text);
const nothing = (columns, text) => el("tr", {}, el("td", { colspan: String(columns), class: "muted" }, text));

export function rows(id, made, columns, empty) {
  at(id).replaceChildren(...(made.length ? made : [nothing(columns, empty)]));
}

// A list that comes in pages: what is shown grows.
export function pages(path, id, rowOf, columns, empty) {
  const state = { page: 0, shown: [] };
  const button = at(`more-${id}`);
  const load = async (page = 1) => {
    const { data, meta } = await request(`${BASE}/${path}?page=${page}&limit=20`);
    state.shown = page === 1 ? data : [...state.shown, ...data];
    state.page = page;
    rows(id, state.shown.map(rowOf), columns, empty);
    button.hidden = page >= meta.totalPages;
  };
  button.addEventListener("click", guarded(() => load(state.page + 1)));
  return load;
}
