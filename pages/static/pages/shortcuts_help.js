// All that has a key (shortcuts.js), in a dialog.
import { open } from "./dialogs.js";
import { el } from "./dom.js";

const shortcuts = (mod) => [
  { keys: ["Enter"], text: "Send" },
  { keys: ["Shift", "Enter"], text: "New line" },
  { keys: [mod, "K"], text: "Search" },
  { keys: [mod, "Shift", "O"], text: "New chat" },
  { keys: ["/"], text: "Write a message" },
  { keys: ["Esc"], text: "Stop the answer" },
  { keys: ["↑"], text: "Edit the last message (in an empty field)" },
  { keys: ["Alt", "↑ ↓"], text: "Previous or next conversation" },
  { keys: [mod, "Shift", "C"], text: "Copy the last answer" },
  { keys: ["?"], text: "This help" },
];

export function showShortcuts(mod) {
  const rows = shortcuts(mod).map(({ keys, text }) =>
    el("div", { class: "shortcut" }, el("dt", {}, text), el("dd", {}, ...keys.map((key) => el("kbd", {}, key)))),
  );
  const close = el("button", { value: "" }, "Close");
  const form = el("form", { method: "dialog" }, el("h2", { id: "question" }, "Keyboard"), el("dl", { class: "shortcuts" }, ...rows), el("div", { class: "row" }, close));
  return open(el("dialog", { "aria-labelledby": "question" }, form));
}
