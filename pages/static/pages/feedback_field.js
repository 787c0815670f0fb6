// The field for a word with a thumb. It loads with the first thumb that is pressed.
import { el, isComposing } from "./dom.js";

const MAX_CHARS = 2_000;

// `send` gets what was written, `leave` is called where the user gives it up.
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
