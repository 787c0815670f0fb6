// How an answer ended, if not by itself: what happened, and what can be done.
import { el, icon } from "./dom.js";
import { explainFailure } from "./errors.js";

// Why a complete answer has no text; CUT_OFF where the model reached the token limit.
const EMPTY = {
  refusal: "The model refused.",
  reasoning_only: "The model only reasoned and gave no answer.",
  empty: "The model gave an empty answer.",
};
const CUT_OFF = {
  reasoning_only: "The model only reasoned and reached the token limit.",
  empty: "The model reached the token limit before it answered.",
};
// As conversations/finish_reasons.py.
const LENGTH = new Set(["length", "max_tokens", "model_length"]);
// What would be too long to be stored stays so.
const ENDED = new Set(["output_limit"]);

// Null for a message that says all there is to say. `actions`: again(row), more(row), show(versionId, row).
export function stateOf(row, actions) {
  const words = row.role === "assistant" && row.status !== "in_progress" && row.status ? wordsOf(row) : null;
  if (!words) return null;
  const told = el("span", {}, words);
  const left = secondsLeft(row);
  if (left) setTimeout(() => (told.textContent = wordsOf(row)), left * 1_000);
  const code = row.status === "cancelled" ? null : row.run?.errorCode;
  const button = (text, act) => el("button", { type: "button", class: "link", onclick: () => act(row) }, text);
  // What ended without a word is no version, which a switch would lead away from.
  const version = row.versions?.includes(row.id) ? null : row.versions?.at(-1);
  return el(
    "p",
    { class: `state ${row.status}` },
    icon(row.status === "cancelled" ? "stop" : "alert"),
    told,
    code ? el("code", {}, code) : null,
    canContinue(row) ? button("Continue", actions.more) : null,
    row.status === "complete" && !row.emptyReason ? null : button("Try again", actions.again),
    version ? button("Back to the last answer", () => actions.show(version, row)) : null,
  );
}

function wordsOf(row) {
  if (row.emptyReason) return emptyWords(row);
  if (row.status === "cancelled") return "Stopped.";
  if (row.status === "complete") return LENGTH.has(row.finishReason) ? "The answer reached the token limit." : filtered(row);
  const { errorCode: code, errorMessage: text } = row.run ?? {};
  const why = explainFailure({ code: code ?? "interrupted", text, retryAfter: secondsLeft(row) });
  return row.content ? `The answer broke off. ${why}` : why;
}

// Until it makes sense to ask again; null if nobody said.
const secondsLeft = ({ run }) => (run?.retryAt ? Math.max(0, (new Date(run.retryAt) - Date.now()) / 1_000) : null);

const filtered = ({ finishReason }) => (finishReason === "content_filter" ? "A content filter ended the answer." : null);

function emptyWords({ emptyReason, finishReason }) {
  if (finishReason === "content_filter") return "A content filter withheld the answer.";
  return (LENGTH.has(finishReason) && CUT_OFF[emptyReason]) || EMPTY[emptyReason];
}

// What completions/continuing.py can continue.
function canContinue({ content, status, finishReason, emptyReason, toolCalls, run }) {
  if (!content || emptyReason || toolCalls?.length) return false;
  return status === "complete" ? LENGTH.has(finishReason) : !ENDED.has(run?.errorCode);
}
