// The keyboard first: everything that is done often has a key, and `?` shows them (shortcuts_help.js).
import { at, isComposing, isTyping } from "./dom.js";

const mac = /Mac|iPhone|iPad/.test(navigator.platform);
const MOD = mac ? "⌘" : "Ctrl";

export async function help() {
  const { showShortcuts } = await import("./shortcuts_help.js");
  if (!document.querySelector("dialog[open]")) showShortcuts(MOD);
}

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
