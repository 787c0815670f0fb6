// What went wrong, or was done, in words: at the bottom, for a while, with what can be done about it.
import { at, el } from "./dom.js";

export function toast(text, { action = null, act = null, seconds = 7 } = {}) {
  const remove = () => note.remove();
  const button = action && el("button", { type: "button", onclick: () => (remove(), act()) }, action);
  const note = el("div", { class: "toast", role: "status" }, el("span", {}, text), button);
  at("toasts").append(note);
  while (at("toasts").children.length > 3) at("toasts").firstChild.remove();
  setTimeout(remove, seconds * 1_000);
}

const WORDS = {
  conversation_busy: "An answer is being written in this conversation already. Stop it, or wait for its end.",
  too_many_runs: "Too many answers are being written at once. Wait for one to end.",
  rate_limit_exceeded: "That was too much at once.",
  not_found: "It is not there any more. It may have been deleted in another tab.",
};

export function explain(problem) {
  const words = WORDS[problem.code] ?? problem.message;
  return problem.retryAfter ? `${words} Try again in ${problem.retryAfter} s.` : words;
}

export function toastProblem(problem, options = {}) {
  if (problem.name === "AbortError" || problem.code === "unauthorized") return;
  if (!problem.code) console.error(problem);
  toast(problem.code ? explain(problem) : "Something failed on this page. Reloading it helps.", options);
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
