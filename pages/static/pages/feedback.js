// What the user thinks of an answer: a thumb, and a word with it for those who like.
import { el, iconButton, isComposing } from "./dom.js";
import * as operations from "./operations.js";
import { guarded } from "./toasts.js";

const THUMBS = { UP: ["thumb-up", "Good answer"], DOWN: ["thumb-down", "Bad answer"] };
const ASKED = { UP: "What was good? (optional)", DOWN: "What was wrong? (optional)" };
const MAX_CHARS = 2_000;

// The buttons for the footer; what was said, or the field for it, appears below in `article`.
export function thumbs(row, article) {
  const below = el("div", { class: "feedback" });
  const buttons = Object.entries(THUMBS).map(([rating, [name, label]]) => iconButton(name, label, () => press(rating)));

  function draw(writing) {
    const { rating, comment } = row.feedback ?? {};
    Object.keys(THUMBS).forEach((each, place) => buttons[place].setAttribute("aria-pressed", String(each === rating)));
    below.replaceChildren(...(writing ? [field(rating, comment)] : comment ? [said(comment)] : []));
  }

  const press = guarded(async (rating) => {
    const again = row.feedback?.rating === rating;
    if (again) await operations.deleteFeedback(row.id);
    row.feedback = again ? null : await operations.setFeedback(row.id, rating, row.feedback?.comment);
    draw(!again);
  });

  const send = guarded(async (rating, comment) => {
    row.feedback = await operations.setFeedback(row.id, rating, comment);
    leave(rating);
  });

  function leave(rating) {
    draw(false);
    buttons[Object.keys(THUMBS).indexOf(rating)].focus();
  }

  function field(rating, comment) {
    const input = el("textarea", { "aria-label": ASKED[rating], placeholder: ASKED[rating], dir: "auto", rows: "1" });
    input.maxLength = MAX_CHARS;
    input.value = comment;
    const onsubmit = (event) => (event.preventDefault(), send(rating, input.value.trim()));
    const form = el("form", { onsubmit }, input, el("button", {}, "Send feedback"));
    form.addEventListener("keydown", (event) => {
      if (isComposing(event)) return;
      if (event.key === "Escape") {
        event.stopPropagation();
        leave(rating);
      } else if (event.key === "Enter" && !event.shiftKey && event.target === input) {
        event.preventDefault();
        form.requestSubmit();
      }
    });
    return form;
  }

  const said = (comment) =>
    el("p", { class: "muted" }, el("span", { dir: "auto" }, comment), " ", change());
  const change = () =>
    el("button", { type: "button", class: "link", onclick: () => (draw(true), below.querySelector("textarea").focus()) }, "Change");

  draw(false);
  article.append(below);
  return buttons;
}
