// The results of a search: snippets with links to their messages. Loaded by the first search.
import { at, el, marked, shortTime } from "./dom.js";
import * as operations from "./operations.js";
import { guarded } from "./toasts.js";

const WHY = { words: "by its words", meaning: "by its meaning", both: "by words and meaning" };

// Markdown's marks are noise in a list.
const plain = (piece) => (typeof piece === "string" ? piece.replace(/\*\*|`+|^#{1,6} |^> /gm, "") : piece);

// Hits that were found come first; one heading separates them from those that are only near. Adds to `words` the words
// that were found.
export function itemsOf(hits, { isFirst, words }) {
  const items = hits.map((hit) => itemOf(hit, words));
  const first = hits.findIndex((hit) => !hit.found);
  const isHeaded = !isFirst && at("hits").querySelector(".nearest");
  if (first < 0 || isHeaded) return items;
  const text = isFirst && first === 0 ? "Nothing said that; nearest by meaning:" : "Nearest by meaning:";
  return items.toSpliced(first, 0, el("li", { class: "nearest muted" }, text));
}

// The other hits of a conversation come on demand, below its best one.
function foldOf(hit, words) {
  const query = at("search").value.trim();
  const mode = at("mode").value;
  const unfold = guarded(async (event) => {
    const button = event.currentTarget;
    const found = await operations.search(query, { mode, conversationId: hit.conversation.id });
    const others = found.rows.filter((each) => each.found === hit.found && each.message.id !== hit.message.id);
    const items = others.map((each) => itemOf(each, words));
    button.replaceWith(el("ul", { class: "fold" }, ...items));
    items[0]?.querySelector("a").focus();
  });
  return el("button", { type: "button", class: "link", onclick: unfold }, `${hit.others} more in this conversation`);
}

function itemOf(hit, words) {
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
    hit.others ? foldOf(hit, words) : null,
  );
}
