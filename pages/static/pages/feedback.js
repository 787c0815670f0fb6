// What the user thinks of an answer: a thumb, and a word with it for those who like.
import { el, iconButton } from "./dom.js";
import * as operations from "./operations.js";
import { guarded } from "./toasts.js";

const THUMBS = { UP: ["thumb-up", "Good answer"], DOWN: ["thumb-down", "Bad answer"] };
const ASKED = { UP: "What was good? (optional)", DOWN: "What was wrong? (optional)" };

// The buttons for the footer; what was said, or the field for it, appears below in `article`.
export function thumbs(row, article) {
  const below = el("div", { class: "feedback" });
  const buttons = Object.entries(THUMBS).map(([rating, [name, label]]) => iconButton(name, label, () => press(rating)));

  async function draw(writing) {
    const { rating, comment } = row.feedback ?? {};
    Object.keys(THUMBS).forEach((each, place) => buttons[place].setAttribute("aria-pressed", String(each === rating)));
    const shown = writing ? await field(rating, comment) : comment && said(comment);
    // Another thumb may have been pressed while the field was loading.
    if (rating === row.feedback?.rating) below.replaceChildren(...(shown ? [shown] : []));
  }

  const press = guarded(async (rating) => {
    const again = row.feedback?.rating === rating;
    if (again) await operations.deleteFeedback(row.id);
    row.feedback = again ? null : await operations.setFeedback(row.id, rating, row.feedback?.comment);
    await draw(!again);
  });

  const send = guarded(async (rating, comment) => {
    row.feedback = await operations.setFeedback(row.id, rating, comment);
    leave(rating);
  });

  function leave(rating) {
    draw(false);
    buttons[Object.keys(THUMBS).indexOf(rating)].focus();
  }

  async function field(rating, comment) {
    const { commentField } = await import("./feedback_field.js");
    return commentField(ASKED[rating], comment, {
      send: (written) => send(rating, written),
      leave: () => leave(rating),
    });
  }

  const change = guarded(async () => {
    await draw(true);
    below.querySelector("textarea")?.focus();
  });

  function said(comment) {
    const button = el("button", { type: "button", class: "link", onclick: change }, "Change");
    return el("p", { class: "muted" }, el("span", { dir: "auto" }, comment), " ", button);
  }

  draw(false);
  article.append(below);
  return buttons;
}
