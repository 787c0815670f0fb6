// Sharing a conversation up to a message: what others will see, a new link, and those that there are.
import { cancel, open } from "./dialogs.js";
import { el, fullTime, isComposing } from "./dom.js";
import { explain } from "./errors.js";
import { copy } from "./message.js";
import * as operations from "./operations.js";

const DAYS = [1, 7, 30, 90, 365];
const USUAL = 30;
const SEEN = "Anybody who has the link can read it without signing in: the title, questions and answers up to this message, dates, names of models, and small copies of pictures.";
const UNSEEN = "Not shown: instructions, thoughts, calls of tools, other files, your name, and whatever is said later. What you delete is gone from the link, too.";

const inWords = (days) => (days === 1 ? "a day" : days === 7 ? "a week" : days === 365 ? "a year" : `${days} days`);
const addressOf = (link) => new URL(link.path, location.href).href;

// What may be chosen, of which the service allows `most` days.
function expiries(most) {
  const offered = [...new Set([...DAYS.filter((days) => days < most), most])];
  const select = el("select", {}, ...offered.map((days) => el("option", { value: String(days) }, inWords(days))));
  select.value = String(Math.min(USUAL, most));
  return select;
}

export async function shareUpTo({ conversationId, messageId, title }) {
  const name = el("input", { type: "text", maxlength: "200", autocomplete: "off", dir: "auto", placeholder: "No title" });
  name.value = title;
  const days = expiries(Number(document.body.dataset.shareDays));
  const create = el("button", { class: "primary", value: "create" }, "Create link");
  const problem = el("p", { class: "problem", role: "alert", hidden: true });
  const told = el("p", { class: "sr-only", role: "status" });
  const list = el("ul", { class: "shared-links", "aria-label": "Links to this conversation" });
  const close = cancel();
  close.textContent = "Close";
  const form = el(
    "form",
    { method: "dialog", class: "sharing" },
    el("h2", { id: "question" }, "Share up to here"),
    el("p", { id: "about" }, SEEN),
    el("p", { class: "muted" }, UNSEEN),
    el("label", { class: "field" }, "Title that is shown", name),
    el("label", { class: "field" }, "The link works for", days),
    list,
    problem,
    told,
    el("div", { class: "row" }, close, create),
  );
  const dialog = el("dialog", { "aria-labelledby": "question", "aria-describedby": "about" }, form);

  async function act(work) {
    problem.hidden = true;
    try {
      await work();
    } catch (failed) {
      problem.textContent = failed.code ? explain(failed) : failed.message;
      problem.hidden = false;
    }
  }

  async function draw() {
    const links = await operations.sharedLinks(conversationId);
    list.replaceChildren(...links.map(itemOf));
  }

  function itemOf(link) {
    const made = fullTime(link.createdAt);
    const button = (label, does, kind = "link") =>
      el("button", { type: "button", class: kind, "aria-label": `${label} the link of ${made}`, onclick: () => act(() => does(link)) }, label);
    return el(
      "li",
      { "data-id": link.id },
      el("code", {}, addressOf(link)),
      el("span", { class: "muted" }, `${link.messageId === messageId ? "Up to here" : "Up to another message"}, made ${made}, works until ${fullTime(link.expiresAt)}`),
      el("span", {}, button("Copy", () => copyOf(link)), " ", button("Revoke", revoke, "link danger")),
    );
  }

  async function copyOf(link) {
    await copy(addressOf(link));
    told.textContent = "The link is copied.";
  }

  async function revoke(link) {
    await operations.revokeSharedLink(link.id);
    await draw();
    told.textContent = "The link no longer works.";
    (list.querySelector("button") ?? create).focus();
  }

  form.addEventListener("submit", async (event) => {
    if (event.submitter !== create) return;
    event.preventDefault();
    create.disabled = true;
    await act(async () => {
      const link = await operations.shareConversation(messageId, { days: Number(days.value), title: name.value.trim() });
      await draw();
      told.textContent = "The link is created.";
      list.querySelector(`[data-id="${link.id}"] button`)?.focus();
    });
    create.disabled = false;
  });
  // Enter is the first submit button's otherwise, which leaves.
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || isComposing(event) || event.target !== name) return;
    event.preventDefault();
    create.click();
  });
  const left = open(dialog);
  await act(draw);
  await left;
}
