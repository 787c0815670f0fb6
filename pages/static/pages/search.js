// The search box: sends the query, and says what came of it.
import { at, isComposing } from "./dom.js";
import { explain } from "./errors.js";
import * as operations from "./operations.js";

const DELAY_MS = 250;
// The words that were found, for the message that is opened.
const words = new Set();
let asked = 0;
let timer = 0;
let after = null;

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
    // Only now that the service answers: a browser may remember a module that it could not load.
    const { itemsOf } = await import("./hits.js");
    if (mine !== asked) return;
    // Not before: until then, the hits that are shown are those of the question before.
    if (!cursor) words.clear();
    const items = itemsOf(found.rows, { isFirst: !cursor, words });
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
