// What a conversation keeps of how its answers are made, or new ones begin with: instructions, and the model's parameters.
import { cancel, open } from "./dialogs.js";
import { el, isComposing } from "./dom.js";

const CHARACTERS = 16_000;
const EFFORTS = ["none", "minimal", "low", "medium", "high", "xhigh"];
const DEFAULT = "Model’s default";
const NUMBERS = [
  { name: "temperature", label: "Temperature", min: "0", max: "2", step: "any", hint: "0 to 2" },
  { name: "top_p", label: "Top-p", min: "0", max: "1", step: "any", hint: "0 to 1" },
  { name: "max_tokens", label: "Tokens at most", min: "1", max: "2147483647", step: "1", hint: "" },
];

function fieldsFor(given) {
  const text = el("textarea", { name: "instructions", rows: "6", maxlength: String(CHARACTERS), dir: "auto", placeholder: "Nothing is said to the model beforehand" });
  text.value = given.instructions ?? "";
  const numbers = NUMBERS.map(({ name, label, hint, ...bounds }) => {
    const input = el("input", { type: "number", name, inputmode: "decimal", autocomplete: "off", placeholder: DEFAULT, ...bounds });
    input.value = given[name] ?? "";
    return el("label", { class: "field" }, hint ? `${label} (${hint})` : label, input);
  });
  const efforts = el("select", { name: "reasoning_effort" }, el("option", { value: "" }, DEFAULT), ...EFFORTS.map((value) => el("option", { value }, value)));
  efforts.value = given.reasoning_effort ?? "";
  return [el("label", { class: "field" }, "Instructions", text), el("div", { class: "fields" }, ...numbers, el("label", { class: "field" }, "Reasoning effort", efforts))];
}

// What is filled in; null without any of it.
function readFrom(form) {
  const found = {};
  for (const { name, value, type } of form.querySelectorAll("[name]")) {
    if (value.trim()) found[name] = type === "number" ? Number(value) : value;
  }
  return Object.keys(found).length ? found : null;
}

// Lets somebody change what is `given`. `save` gets the result, and the dialog stays open, with what was written,
// until that has worked. Returns whether it has. `about` says what they are for.
export async function editInstructions(given, save, about = "For every answer of this conversation, from the next one on.") {
  const go = el("button", { class: "primary", value: "yes" }, "Save");
  const problem = el("p", { class: "problem", role: "alert", hidden: true });
  const form = el(
    "form",
    { method: "dialog", class: "instructions" },
    el("h2", { id: "question" }, "Instructions"),
    el("p", { class: "muted", id: "about" }, about),
    ...fieldsFor(given ?? {}),
    problem,
    el("div", { class: "row" }, cancel(), go),
  );
  const dialog = el("dialog", { "aria-labelledby": "question", "aria-describedby": "about" }, form);
  // Enter is the first submit button's otherwise, which leaves.
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || isComposing(event) || event.target.tagName !== "INPUT") return;
    event.preventDefault();
    go.click();
  });
  form.addEventListener("submit", async (event) => {
    if (event.submitter !== go) return;
    event.preventDefault();
    go.disabled = true;
    try {
      await save(readFrom(form));
      dialog.close("yes");
    } catch (failed) {
      problem.textContent = failed.message;
      problem.hidden = false;
      go.disabled = false;
    }
  });
  return (await open(dialog)) === "yes";
}
