// The keyboard first: everything that is done often has a key, and `?` shows them.
import { at, isComposing, isTyping } from "./dom.js";
import { showShortcuts } from "./dialogs.js";

const mac = /Mac|iPhone|iPad/.test(navigator.platform);
const MOD = mac ? "⌘" : "Ctrl";

const SHORTCUTS = [
  { keys: ["Enter"], text: "Send" },
  { keys: ["Shift", "Enter"], text: "New line" },
  { keys: [MOD, "K"], text: "Search" },
  { keys: [MOD, "Shift", "O"], text: "New chat" },
  { keys: ["/"], text: "Write a message" },
  { keys: ["Esc"], text: "Stop the answer" },
  { keys: ["↑"], text: "Edit the last message (in an empty field)" },
  { keys: ["Alt", "↑ ↓"], text: "Previous or next conversation" },
  { keys: [MOD, "Shift", "C"], text: "Copy the last answer" },
  { keys: ["?"], text: "This help" },
];

export const help = () => (document.querySelector("dialog[open]") ? null : showShortcuts(SHORTCUTS));

// `acts`: create, search, write, stop, move(step), copy.
export function startShortcuts(acts) {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || isComposing(event) || document.querySelector("dialog[open]")) return;
    const act = actOf(event, acts);
    if (!act) return;
    event.preventDefault();
    act();
  });
  at("help").addEventListener("click", help);
}

function actOf(event, acts) {
  const mod = mac ? event.metaKey : event.ctrlKey;
  const key = event.key.toLowerCase();
  if (mod && event.shiftKey && key === "o") return acts.create;
  if (mod && event.shiftKey && key === "c") return acts.copy;
  if (mod && !event.shiftKey && key === "k") return acts.search;
  if (event.altKey && key === "arrowup") return () => acts.move(-1);
  if (event.altKey && key === "arrowdown") return () => acts.move(1);
  if (key === "escape") return acts.stop;
  if (mod || event.altKey || isTyping(event.target)) return null;
  if (key === "/") return acts.write;
  if (key === "?") return help;
  return null;
}
