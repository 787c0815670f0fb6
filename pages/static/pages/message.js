// One message as an article: who, what, how it went, and what can be done with it.
import { thumbs } from "./feedback.js";
import { showFilesOf } from "./files.js";
import { el, fullTime, icon, iconButton, isComposing, shortTime } from "./dom.js";
import { toast } from "./toasts.js";

const WHY = {
  upstream_rate_limited: "The model's server is busy.",
  upstream_truncated: "The model's server ended the answer early.",
  upstream_timeout: "The model's server did not answer in time.",
  upstream_unavailable: "The model's server cannot be reached.",
  interrupted: "The service was interrupted.",
  context_length_exceeded: "The conversation is too long for this model.",
};

// Why a complete answer has no text; CUT_OFF where the model reached the token limit.
const EMPTY = {
  refusal: "The model refused.",
  reasoning_only: "The model only reasoned and gave no answer.",
  empty: "The model gave an empty answer.",
};
const CUT_OFF = {
  reasoning_only: "The model only reasoned and reached the token limit.",
  empty: "The model reached the token limit before it answered.",
};

// `actions`: edit(row), again(row), show(versionId, row).
export function messageElement(row, actions) {
  const mine = row.role === "user";
  const name = mine ? "You" : row.role === "assistant" ? "Assistant" : row.role;
  const body = el("div", { class: "body markdown", dir: "auto" });
  const article = el(
    "article",
    { class: `message ${mine ? "mine" : "theirs"}`, id: `m-${row.id}`, "aria-label": name, tabindex: "-1" },
    el(
      "header",
      {},
      el("span", { class: "name" }, name),
      row.model ? el("span", { class: "model" }, row.model) : null,
      row.createdAt ? el("time", { datetime: row.createdAt, title: fullTime(row.createdAt) }, shortTime(row.createdAt)) : null,
    ),
    body,
    el("footer", {}),
  );
  article.body = body;
  fill(article, row, actions);
  if (!row.pending && row.status !== "in_progress") showFilesOf(article, row.id);
  return article;
}

function fill(article, row, actions) {
  const writing = row.status === "in_progress";
  article.classList.toggle("writing", writing);
  article.setAttribute("aria-busy", String(writing));
  if (row.html === undefined) article.body.textContent = row.content;
  // Made safe by the service: conversations/rendering.py. The page's policy lets nothing else in it act either.
  else article.body.innerHTML = row.html;
  for (const pre of article.body.querySelectorAll("pre")) addCopy(pre);
  const state = writing ? null : stateOf(row, actions);
  if (state) article.body.after(state);
  article.querySelector("footer").append(...(writing || row.pending ? [] : footerOf(row, actions, article)));
}

function stateOf(row, actions) {
  const empty = row.emptyReason;
  if ((row.status === "complete" && !empty) || !row.status) return null;
  const code = row.run?.errorCode;
  const words = empty ? emptyWords(row) : row.status === "cancelled" ? "Stopped." : (WHY[code] ?? "This answer was cut off.");
  const more = code && row.status !== "cancelled" ? el("code", {}, code) : null;
  const again = el("button", { type: "button", class: "link", onclick: () => actions.again(row) }, "Try again");
  return el("p", { class: `state ${row.status}` }, icon(row.status === "cancelled" ? "stop" : "alert"), el("span", {}, words), more, again);
}

function emptyWords({ emptyReason, finishReason }) {
  if (finishReason === "content_filter") return "A content filter withheld the answer.";
  return (finishReason === "length" && CUT_OFF[emptyReason]) || EMPTY[emptyReason];
}

function footerOf(row, actions, article) {
  const made = [iconButton("copy", "Copy message", () => copy(row.content))];
  if (row.role === "user") made.push(iconButton("edit", "Edit message", () => actions.edit(row)));
  if (row.role === "assistant") made.push(iconButton("again", "Regenerate answer", () => actions.again(row)), ...thumbs(row, article));
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

function addCopy(pre) {
  const wrapper = el("div", { class: "code" });
  pre.replaceWith(wrapper);
  pre.tabIndex = 0;
  wrapper.append(pre, iconButton("copy", "Copy code", () => copy(pre.textContent)));
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
  input.maxLength = document.querySelector("#input").maxLength;
  input.value = text;
  input.addEventListener("input", () => changed(input.value));
  const close = () => (form.remove(), article.classList.remove("editing"), leave());
  const form = el(
    "form",
    {
      class: "editor",
      onsubmit: (event) => {
        event.preventDefault();
        if (input.value.trim()) send(input.value);
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
  input.focus();
  input.setSelectionRange(input.value.length, input.value.length);
}
