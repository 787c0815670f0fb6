// Questions that must be answered first. They are <dialog>s: Escape leaves, the focus comes back.
import { el, isComposing } from "./dom.js";

export function open(dialog) {
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((done) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      done(dialog.returnValue);
    });
  });
}

export const cancel = () => el("button", { value: "", formnovalidate: true }, "Cancel");

// `destroys`: the button is red.
export async function confirm({ title, text, action, destroys = true }) {
  const go = el("button", { class: destroys ? "danger" : "primary", value: "yes" }, action);
  const form = el("form", { method: "dialog" }, el("h2", { id: "question" }, title), el("p", {}, text), el("div", { class: "row" }, cancel(), go));
  return (await open(el("dialog", { "aria-labelledby": "question" }, form))) === "yes";
}

// Returns the value of the action that was chosen, or "" where the question was left. It closes with `signal`, too.
export function choose({ title, text, actions, signal }) {
  const buttons = actions.map(({ value, label }, place) => el("button", { class: place ? null : "primary", value }, label));
  const later = el("button", { value: "" }, "Not now");
  const form = el(
    "form",
    { method: "dialog" },
    el("h2", { id: "choice" }, title),
    el("p", { id: "choice-text" }, text),
    el("div", { class: "row" }, later, ...buttons.reverse()),
  );
  const dialog = el("dialog", { role: "alertdialog", "aria-labelledby": "choice", "aria-describedby": "choice-text" }, form);
  signal.addEventListener("abort", () => dialog.close(""));
  return open(dialog);
}

// Returns the text, or null where the question was left.
export async function ask({ title, label, value = "", action, maxlength = 200, required = false, type = "text", destroys = false }) {
  const input = el("input", { type, maxlength: String(maxlength), required, autocomplete: "off", dir: "auto" });
  input.value = value;
  const go = el("button", { class: destroys ? "danger" : "primary", value: "yes" }, action);
  const form = el(
    "form",
    { method: "dialog" },
    el("h2", { id: "question" }, title),
    el("label", { class: "field" }, label, input),
    el("div", { class: "row" }, cancel(), go),
  );
  // Enter is the first submit button's otherwise, which leaves.
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target === input && !isComposing(event)) {
      event.preventDefault();
      go.click();
    }
  });
  const dialog = el("dialog", { "aria-labelledby": "question" }, form);
  const answer = open(dialog);
  input.select();
  return (await answer) === "yes" ? input.value : null;
}
