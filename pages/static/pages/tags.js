// Tags to choose from, above the list.
import { at, el } from "./dom.js";

// Shows the tags that there are as buttons, of which at most one is pressed: `chosen`. `choose` gets the one that is
// pressed now, or null. Those that are there already stay, and with them the focus.
export function showTags(names, chosen, choose) {
  const box = at("tags");
  const shown = new Map([...box.children].map((button) => [button.textContent, button]));
  const buttons = names.map((name) => {
    const button = shown.get(name) ?? el("button", { type: "button", class: "chip", dir: "auto" }, name);
    button.setAttribute("aria-pressed", String(name === chosen));
    button.onclick = () => choose(name === chosen ? null : name);
    return button;
  });
  const isAsBefore = buttons.length === box.children.length && buttons.every((button, place) => box.children[place] === button);
  if (!isAsBefore) box.replaceChildren(...buttons);
  box.hidden = !names.length;
}
