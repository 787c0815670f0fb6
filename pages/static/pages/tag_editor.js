// The dialog with the tags of a conversation; it is loaded when it is opened.
import { cancel, open } from "./dialogs.js";
import { el, iconButton, isComposing } from "./dom.js";

const CHARACTERS = 50;
const same = (one, other) => one.localeCompare(other, undefined, { sensitivity: "accent" }) === 0;

// Lets somebody change the tags in `given`; `known` are those that are offered. `save` gets the result, and the dialog
// stays open until that has worked. Returns whether it has.
export async function editTags(given, known, save) {
  let names = [...given];
  const chips = el("ul", { class: "chips", "aria-label": "Tags of this conversation" });
  const offers = el("datalist", { id: "known-tags" });
  const input = el("input", { maxlength: String(CHARACTERS), list: "known-tags", autocomplete: "off", dir: "auto", enterkeyhint: "done" });
  const status = el("p", { class: "sr-only", role: "status" });
  const problem = el("p", { class: "problem", role: "alert", hidden: true });
  const add = el("button", { type: "button", onclick: () => (take(), input.focus()) }, "Add");
  const go = el("button", { class: "primary", value: "yes" }, "Save");

  const render = () => {
    chips.replaceChildren(...names.map((name) => el("li", { class: "chip", dir: "auto" }, name, iconButton("close", `Remove ${name}`, () => remove(name)))));
    chips.hidden = !names.length;
    offers.replaceChildren(...known.filter((name) => !names.some((each) => same(each, name))).map((name) => el("option", { value: name })));
  };
  const remove = (name) => {
    names = names.filter((each) => each !== name);
    render();
    status.textContent = `Removed ${name}.`;
    input.focus();
  };
  const take = () => {
    const name = input.value.trim().replace(/\s+/g, " ");
    input.value = "";
    if (!name || names.some((each) => same(each, name))) return;
    names.push(name);
    render();
    status.textContent = `Added ${name}.`;
  };

  const form = el(
    "form",
    { method: "dialog", class: "tags-of" },
    el("h2", { id: "question" }, "Tags"),
    chips,
    el("label", { class: "field" }, "New tag", el("span", { class: "row" }, input, add)),
    offers,
    status,
    problem,
    el("div", { class: "row" }, cancel(), go),
  );
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || isComposing(event) || event.target !== input) return;
    event.preventDefault();
    if (input.value.trim()) take();
    else go.click();
  });
  form.addEventListener("submit", async (event) => {
    if (event.submitter !== go) return;
    event.preventDefault();
    take();
    go.disabled = true;
    try {
      await save(names);
      dialog.close("yes");
    } catch (failed) {
      problem.textContent = failed.message;
      problem.hidden = false;
      go.disabled = false;
    }
  });
  render();
  const dialog = el("dialog", { "aria-labelledby": "question" }, form);
  const closed = open(dialog);
  input.focus();
  return (await closed) === "yes";
}
