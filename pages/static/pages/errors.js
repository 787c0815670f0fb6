// What went wrong, in words: what happened, and what to do about it.
const AGAIN = "Try again.";
const OTHER = "Try again, or choose another model.";
const TELL = "If it stays that way, tell whoever runs this service.";

// Requests that were refused: nothing of them is stored. For other codes the service's own sentence says what is wrong.
const REFUSED = {
  conversation_busy: "An answer is already being written in this conversation. Stop it, or wait until it ends.",
  deleted: "This conversation was deleted.",
  file_not_found: "One of the files no longer exists. Remove it, and attach it anew.",
  history_changed: "This conversation has just changed elsewhere. Reload the page.",
  idempotency_mismatch: "This was already asked, with other settings. Reload the page.",
  insufficient_scope: "Your key or account may not do this.",
  internal_error: `The service failed. ${AGAIN} ${TELL}`,
  model_not_allowed: "You may not use this model. Choose another one.",
  model_not_found: "There is no such model any more. Choose another one.",
  not_found: "It no longer exists. It may have been deleted in another tab.",
  nothing_to_continue: "There is nothing to continue here. Try again for another answer.",
  offline: "No connection to the service. Check your network, then try again.",
  queue_full: "Too many questions wait in this conversation. Wait for one to be answered.",
  rate_limit_exceeded: "Too many requests.",
  request_too_large: "It is too large for this service. Send less at once.",
  search_not_allowed: "You may not search here.",
  shutting_down: "The service is restarting.",
  storage_full: "Your account is full. Delete conversations or files that you no longer need.",
  storage_unavailable: "The service cannot reach its store right now.",
  unreadable: `The service, or a proxy before it, sent a response that cannot be read. ${AGAIN} ${TELL}`,
};

// Answers that failed.
const FAILED = {
  ...REFUSED,
  context_length_exceeded: "The conversation is too long for this model. Begin a new chat, or choose a model that reads more.",
  content_filter: "The model's server does not answer this. Ask in other words.",
  content_policy_violation: "The model's server does not answer this. Ask in other words.",
  deadline_exceeded: `The answer took longer than this service allows. ${OTHER}`,
  interrupted: `The service was interrupted. ${AGAIN}`,
  model_not_found: "The model's server does not know this model. Choose another one.",
  output_limit: "The answer became longer than this service can store. Ask for the rest in a question of its own.",
  rate_limit_exceeded: "The model's server is receiving too many requests.",
  upstream_error: `The model's server failed. ${OTHER}`,
  upstream_invalid: `The model's server sent something that is not an answer. ${OTHER} ${TELL}`,
  upstream_rate_limited: "The model's server is receiving too many requests.",
  upstream_stalled: `The model's server stopped sending. ${OTHER}`,
  upstream_timeout: `The model's server did not answer in time. ${OTHER}`,
  upstream_truncated: `The model's server ended the answer early. ${OTHER}`,
  upstream_unauthorized: "The model's server does not take this service's key. Choose another model, and tell whoever runs this service.",
  upstream_unavailable: "The model's server has failed too often, and is left alone for a moment. Try again soon, or choose another model.",
  upstream_unreachable: `The model's server cannot be reached. ${OTHER} ${TELL}`,
};
// Of these the service itself wrote the sentence.
const OURS = new Set(["insufficient_quota", "limit_reached", "parameter_not_allowed"]);
// These pass by themselves.
const PASSING = new Set(["rate_limit_exceeded", "shutting_down", "storage_unavailable", "upstream_rate_limited"]);

const sentence = (text) => (/[.!?…]$/.test(text) ? text : `${text}.`);

// `seconds` in the largest unit that is exact enough to wait by.
export function duration(seconds) {
  if (seconds < 100) return `${Math.ceil(seconds)} s`;
  if (seconds < 5_400) return `${Math.ceil(seconds / 60)} min`;
  return seconds < 129_600 ? `${Math.ceil(seconds / 3_600)} h` : `${Math.ceil(seconds / 86_400)} days`;
}

// `retryAfter`, in seconds: null if nobody said, 0 once the time has passed.
function inWords(words, code, retryAfter) {
  if (retryAfter > 0) return `${words} Try again in ${duration(retryAfter)}.`;
  if (!PASSING.has(code)) return words;
  return `${words} ${retryAfter === 0 ? AGAIN : "Wait a moment, then try again."}`;
}

// A request that was refused.
export const explain = ({ code, message, retryAfter }) => inWords(REFUSED[code] ?? sentence(message), code, retryAfter);

// An answer that failed: `text` is what the model's server, or the service, said about it.
export function explainFailure({ code, text, retryAfter = null }) {
  const told = text && (OURS.has(code) ? sentence(text) : `The model's server refused: ${sentence(text)}`);
  return inWords(FAILED[code] ?? (told || `The answer failed. ${OTHER}`), code, retryAfter);
}
