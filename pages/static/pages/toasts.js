// What went wrong, or was done, in words: at the bottom, for a while, with what can be done about it.
import { at, el } from "./dom.js";
import { explain } from "./errors.js";

// While somebody is about to press something here, all of it stays where it is: a click that begins on a button ends there.
const isHeld = () => at("toasts").matches(":hover, :focus-within");

export function toast(text, { action = null, act = null, seconds = 7 } = {}) {
  const remove = () => note.remove();
  const expire = () => (isHeld() ? setTimeout(expire, 1_000) : remove());
  const button = action && el("button", { type: "button", onclick: () => (remove(), act()) }, action);
  const note = el("div", { class: "toast", role: "status" }, el("span", {}, text), button);
  at("toasts").prepend(note);
  while (at("toasts").children.length > 3 && !isHeld()) at("toasts").lastChild.remove();
  setTimeout(expire, seconds * 1_000);
}

export function toastProblem(problem, options = {}) {
  // Who is refused for who they are is asked what to do: identity_watch.js.
  if (problem.name === "AbortError" || problem.status === 401) return;
  if (!problem.code) console.error(problem);
  toast(problem.code ? explain(problem) : "Something went wrong on this page. Try reloading it.", options);
}

// For handlers: what they do may fail, and says so.
export const guarded = (work) => async (...values) => {
  try {
    return await work(...values);
  } catch (problem) {
    toastProblem(problem);
    return undefined;
  }
};
