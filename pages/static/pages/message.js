// One message as an article: who, what, how it went, and what can be done with it.
import { addTools } from "./code.js";
import { thumbs } from "./feedback.js";
import { showFilesOf } from "./files.js";
import { el, fullTime, iconButton, isComposing, scrollTable, shortTime } from "./dom.js";
import { isShortEnough } from "./limit.js";
import { stateOf } from "./state.js";
import { besides } from "./thought.js";
import { toast } from "./toasts.js";

// `actions`: edit(row), again(row), more(row), share(row), show(versionId, row).
export function messageElement(row, actions) {
  const mine = row.role === "user";
  const body = el("div", { class: "body markdown", dir: "auto" });
  const article = el(
    "article",
    { class: `message ${mine ? "mine" : "theirs"}`, id: `m-${row.id}`, "aria-label": nameOf(row), tabindex: "-1" },
    headerOf(row),
    body,
    el("footer", {}),
  );
  article.body = body;
  article.classList.toggle("pending", row.html === undefined);
  if (row.html === undefined) body.textContent = row.content;
  // Made safe by the service: conversations/rendering.py. The page's policy lets nothing else in it act either.
  else body.innerHTML = row.html;
  dress(body);
  settle(article, row, actions);
  return article;
}

// What a message that was written here is at its end; what is shown of it stays.
export async function completeMessage(article, row, actions) {
  const { live } = article;
  article.live = null;
  article.querySelector("header").replaceWith(headerOf(row));
  const finished = live.finish(row.html);
  settle(article, row, actions);
  await finished;
}

const nameOf = ({ role }) => (role === "user" ? "You" : role === "assistant" ? "Assistant" : role);

function headerOf(row) {
  return el(
    "header",
    {},
    el("span", { class: "name" }, nameOf(row)),
    row.model ? el("span", { class: "model" }, row.model) : null,
    row.createdAt ? el("time", { datetime: row.createdAt, title: fullTime(row.createdAt) }, shortTime(row.createdAt)) : null,
  );
}

function settle(article, row, actions) {
  const writing = row.status === "in_progress";
  article.classList.toggle("writing", writing);
  article.setAttribute("aria-busy", String(writing));
  const before = article.querySelector(".thought");
  before?.remove();
  article.body.before(...besides(row));
  const thought = article.querySelector(".thought");
  if (thought) thought.open = Boolean(before?.open);
  const state = stateOf(row, actions);
  if (state) article.body.after(state);
  if (writing || row.pending) return;
  article.querySelector("footer").append(...footerOf(row, actions, article));
  showFilesOf(article, row.id);
}

function footerOf(row, actions, article) {
  const made = [iconButton("copy", "Copy message", () => copy(row.content))];
  if (row.role === "user") made.push(iconButton("edit", "Edit message", () => actions.edit(row)));
  if (row.role === "assistant") made.push(iconButton("again", "Regenerate answer", () => actions.again(row)), ...thumbs(row, article));
  if (document.body.dataset.shareDays) made.push(iconButton("share", "Share up to here…", () => actions.share(row)));
  const versions = row.versions ?? [];
  const place = versions.indexOf(row.id);
  if (versions.length > 1 && place >= 0) {
    const go = (step) => () => actions.show(versions[place + step], row);
    made.push(
      el(
        "span",
        { class: "versions", role: "group", "aria-label": `Version ${place + 1} of ${versions.length}` },
        iconButton("left", "Previous version", go(-1), { disabled: place === 0 }),
        el("span", { class: "count" }, `${place + 1}/${versions.length}`),
        iconButton("right", "Next version", go(1), { disabled: place === versions.length - 1 }),
      ),
    );
  }
  return made;
}

// A block of a message with what it gets here.
export function dressed(block) {
  const body = el("div", {}, block);
  dress(body);
  return body.firstElementChild;
}

// Code gets its tools, a table its own scrolling, and mathematics is shown, by what is loaded with the first formula.
function dress(body) {
  const formulas = body.querySelectorAll(".math");
  if (formulas.length) void showFormulas(formulas);
  for (const pre of body.querySelectorAll("pre")) addTools(pre, copy);
  for (const table of body.querySelectorAll("table")) scrollTable(table);
}

async function showFormulas(formulas) {
  try {
    const { showMathematics } = await import("../conversations/mathematics.js");
    showMathematics(formulas);
  } catch {
    // They stay as they were written.
  }
}

// Marks words in what a message says, where the browser can; its elements stay as they are.
export function markWords(article, words) {
  if (!CSS.highlights) return;
  const ranges = [];
  const walker = document.createTreeWalker(article.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const text = node.data.toLowerCase();
    if (text.length !== node.data.length) continue;
    for (const word of words) {
      for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + word.length)) {
        const range = new Range();
        range.setStart(node, at);
        range.setEnd(node, at + word.length);
        ranges.push(range);
      }
    }
  }
  CSS.highlights.set("found", new Highlight(...ranges));
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    toast("Copied.", { seconds: 2 });
  } catch {
    toast("The browser does not let this page copy. Select the text instead.");
  }
}

// In the place of what a message says: the same as a text to be changed.
export function editor(article, text, { send, leave, changed }) {
  const input = el("textarea", { "aria-label": "Edit message", dir: "auto", rows: "3" });
  const note = el("p", { class: "too-long", role: "status", hidden: true });
  input.value = text;
  input.addEventListener("input", () => (changed(input.value), isShortEnough(input, note)));
  const close = () => (form.remove(), article.classList.remove("editing"), leave());
  const form = el(
    "form",
    {
      class: "editor",
      onsubmit: (event) => {
        event.preventDefault();
        if (input.value.trim() && isShortEnough(input, note)) send(input.value);
      },
      onkeydown: (event) => {
        if (isComposing(event)) return;
        if (event.key === "Escape") {
          event.stopPropagation();
          close();
        } else if (event.key === "Enter" && !event.shiftKey) {
          event.preventDefault();
          form.requestSubmit();
        }
      },
    },
    input,
    note,
    el(
      "div",
      { class: "row" },
      el("span", { class: "muted" }, "Creates a new branch; this version is kept."),
      el("button", { type: "button", onclick: close }, "Cancel"),
      el("button", { class: "primary" }, "Send"),
    ),
  );
  article.classList.add("editing");
  article.append(form);
  input.style.height = `${Math.min(400, input.scrollHeight + 4)}px`;
  isShortEnough(input, note);
  input.focus();
  input.setSelectionRange(input.value.length, input.value.length);
}
