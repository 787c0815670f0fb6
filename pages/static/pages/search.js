// The search box: finds messages, shows where they say it, and jumps there.
import { at, el, isComposing, marked, shortTime } from "./dom.js";
import { explain } from "./errors.js";
import * as operations from "./operations.js";
import { guarded } from "./toasts.js";

const WHY = { words: "by its words", meaning: "by its meaning", both: "by words and meaning" };
const DELAY_MS = 250;
// The words that were found, for the message that is opened.
const words = new Set();
let asked = 0;
let timer = 0;
let after = null;
// Whether the list has come to hits that were not found, but are the nearest there are.
let nearest = false;

export function startSearch() {
  const box = at("search");
  box.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => run(), DELAY_MS);
    show(Boolean(box.value.trim()));
  });
  at("mode").addEventListener("change", () => run());
  at("more-hits").addEventListener("click", () => run(after));
  box.addEventListener("keydown", (event) => {
    if (isComposing(event)) return;
    if (event.key === "Escape" && box.value) {
      event.stopPropagation();
      clear();
    } else if (event.key === "Enter") {
      event.preventDefault();
      run();
    } else if (event.key === "ArrowDown") {
      event.preventDefault();
      at("hits").querySelector("a")?.focus();
    }
  });
  at("hits").addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const links = [...at("hits").querySelectorAll("a, button")];
    (links[links.indexOf(document.activeElement) + step] ?? box).focus();
  });
}

export const wordsFound = () => [...words].filter(Boolean);

export function clear() {
  at("search").value = "";
  asked += 1;
  show(false);
}

function show(searching) {
  at("found").hidden = !searching;
  at("browse").hidden = searching;
}

async function run(cursor = null) {
  clearTimeout(timer);
  const query = at("search").value.trim();
  show(Boolean(query));
  if (!query) return;
  const mine = (asked += 1);
  if (!cursor) tell("Searching…");
  try {
    const found = await operations.search(query, { after: cursor, mode: at("mode").value });
    if (mine !== asked) return;
    // Not before: until then, the hits that are shown are those of the question before.
    if (!cursor) words.clear();
    const items = itemsOf(found.rows, { isFirst: !cursor });
    if (cursor) at("hits").append(...items);
    else at("hits").replaceChildren(...items);
    after = found.page.hasNextPage ? found.page.endCursor : null;
    at("more-hits").hidden = !after;
    const nothing = items.length || cursor ? "" : "No results. Try other words.";
    const without = found.excluded.length ? `Without “${found.excluded.join("”, “")}”.` : "";
    tell([nothing, found.note, without].filter(Boolean).join(" "));
  } catch (problem) {
    if (mine === asked) tell(explain(problem));
  }
}

function tell(text) {
  at("search-note").textContent = text;
  at("search-note").hidden = !text;
}

// Signs of Markdown say nothing in a list.
const plain = (piece) => (typeof piece === "string" ? piece.replace(/\*\*|`+|^#{1,6} |^> /gm, "") : piece);

// Hits that were found come first: one heading tells them from the rest.
function itemsOf(hits, { isFirst }) {
  if (isFirst) nearest = false;
  const items = hits.map(itemOf);
  const at = hits.findIndex((hit) => !hit.found);
  if (at < 0 || nearest) return items;
  nearest = true;
  const text = isFirst && at === 0 ? "Nothing said that; nearest by meaning:" : "Nearest by meaning:";
  return items.toSpliced(at, 0, el("li", { class: "nearest muted" }, text));
}

// The other hits of a conversation come on demand, below its best one.
function foldOf(hit) {
  const query = at("search").value.trim();
  const mode = at("mode").value;
  const unfold = guarded(async (event) => {
    const button = event.currentTarget;
    const found = await operations.search(query, { mode, conversationId: hit.conversation.id });
    const others = found.rows.filter((each) => each.found === hit.found && each.message.id !== hit.message.id);
    const items = others.map(itemOf);
    button.replaceWith(el("ul", { class: "fold" }, ...items));
    items[0]?.querySelector("a").focus();
  });
  return el("button", { type: "button", class: "link", onclick: unfold }, `${hit.others} more in this conversation`);
}

function itemOf(hit) {
  const { message, conversation: talk } = hit;
  const characters = [...hit.snippet];
  for (const [start, end] of hit.highlights) words.add(characters.slice(start, end).join("").toLowerCase());
  return el(
    "li",
    {},
    el(
      "a",
      { href: `#${talk.id}/${message.id}` },
      el("span", { class: "hit-head" }, el("strong", { dir: "auto" }, talk.title || "Untitled"), el("time", {}, shortTime(message.createdAt))),
      el("span", { class: "snippet", dir: "auto" }, ...marked(hit.snippet, hit.highlights).map(plain)),
      el("span", { class: "why" }, message.role === "user" ? "You" : "Assistant", " · ", WHY[hit.matched], hit.branch === "shown" ? "" : " · other version", talk.archived ? " · archived" : ""),
    ),
    hit.others ? foldOf(hit) : null,
  );
}
