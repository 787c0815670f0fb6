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
  conversation_busy: "An answer is already being written in this conversation. Stop it, or wait until it ends.",
  too_many_runs: "Too many answers are being written at once. Wait for one to end.",
  rate_limit_exceeded: "Too many requests.",
  not_found: "It no longer exists. It may have been deleted in another tab.",
};

export function explain(problem) {
  const words = WORDS[problem.code] ?? problem.message;
  return problem.retryAfter ? `${words} Try again in ${problem.retryAfter} s.` : words;
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
