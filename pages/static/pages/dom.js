// Making elements, and little else: what is shown is set as text, never as HTML.
export const at = (id) => document.getElementById(id);

export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name in made && typeof value !== "string") made[name] = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// Whether a key belongs to an input method that composes a word. Safari says so with this code alone, for the Enter that
// ends the composition.
export const isComposing = (event) => event.isComposing || event.keyCode === 229;

export const isTyping = (target) => Boolean(target.closest?.("input, textarea, select, [contenteditable]"));

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "i");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

export function iconButton(name, label, onclick, attributes = {}) {
  return el("button", { type: "button", class: "icon", "aria-label": label, title: label, onclick, ...attributes }, icon(name));
}

const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export const fullTime = (iso) => full.format(new Date(iso));

export function shortTime(iso) {
  const then = new Date(iso);
  return then.toDateString() === new Date().toDateString() ? clock.format(then) : day.format(then);
}

export const groupOf = (iso) => {
  const days = Math.floor((startOfDay(new Date()) - startOfDay(new Date(iso))) / 86_400_000);
  if (days <= 0) return "Today";
  if (days === 1) return "Yesterday";
  if (days < 7) return "This week";
  if (days < 31) return "This month";
  return "Earlier";
};

const startOfDay = (date) => new Date(date.getFullYear(), date.getMonth(), date.getDate());

// The text as nodes, with the parts between the given offsets (in characters, not code units) marked.
export function marked(text, highlights) {
  const characters = [...text];
  const nodes = [];
  let from = 0;
  for (const [start, end] of highlights) {
    if (start < from || end <= start) continue;
    nodes.push(characters.slice(from, start).join(""), el("mark", {}, characters.slice(start, end).join("")));
    from = end;
  }
  nodes.push(characters.slice(from).join(""));
  return nodes;
}

// What is remembered in this browser; without storage nothing is, and nothing fails.
export const memory = (storage, prefix = () => "") => ({
  get(name) {
    try {
      return JSON.parse(storage().getItem(prefix() + name));
    } catch {
      return null;
    }
  },
  set(name, value) {
    try {
      if (value === null || value === "") storage().removeItem(prefix() + name);
      else storage().setItem(prefix() + name, JSON.stringify(value));
    } catch {
      // Full, or forbidden: it is forgotten.
    }
  },
});
export const ofBrowser = memory(() => localStorage);

// Gives a table its own scrolling, also by keyboard.
export function scrollTable(table) {
  const wrapper = el("div", { class: "wide", role: "group", "aria-label": "Table", tabindex: "0" });
  table.replaceWith(wrapper);
  wrapper.append(table);
}
