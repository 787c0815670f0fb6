// The comment field of a rating. Loaded when a thumb is pressed for the first time.
import { el, isComposing } from "./dom.js";

const MAX_CHARS = 2_000;

// `send` gets the comment; `leave` is called when the user cancels.
export function commentField(label, comment, { send, leave }) {
  const input = el("textarea", { "aria-label": label, placeholder: label, dir: "auto", rows: "1" });
  input.maxLength = MAX_CHARS;
  input.value = comment;
  const onsubmit = (event) => (event.preventDefault(), send(input.value.trim()));
  const form = el("form", { onsubmit }, input, el("button", {}, "Send feedback"));
  form.addEventListener("keydown", (event) => {
    if (isComposing(event)) return;
    if (event.key === "Escape") {
      event.stopPropagation();
      leave();
    } else if (event.key === "Enter" && !event.shiftKey && event.target === input) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  return form;
}
