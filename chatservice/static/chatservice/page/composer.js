// Where one writes: grows with the text, keeps a draft for each conversation, sends on Enter.
import { at, el, ofBrowser, ofTab } from "./dom.js";
import { ask, editLast, stop, talk } from "./talk.js";

const draftOf = (id) => `draft:${id ?? "new"}`;

export function startComposer() {
  const input = at("input");
  at("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  at("stop").addEventListener("click", stop);
  input.addEventListener("input", () => {
    ofTab.set(draftOf(talk.id), input.value);
    fit();
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      send();
    } else if (event.key === "ArrowUp" && !event.altKey && !input.value) {
      event.preventDefault();
      editLast();
    }
  });
  at("model").addEventListener("change", () => ofBrowser.set("model", at("model").value));
}

export const model = () => at("model").value || null;

export function offerModels(names, fallback) {
  const chosen = ofBrowser.get("model") ?? "";
  const others = chosen && !names.includes(chosen) ? [chosen, ...names] : names;
  at("model").replaceChildren(
    el("option", { value: "" }, `${fallback} (default)`),
    ...others.filter((name) => name !== fallback).map((name) => el("option", { value: name }, name)),
  );
  at("model").value = chosen === fallback ? "" : chosen;
}

async function send() {
  const input = at("input");
  const content = input.value;
  if (!content.trim() || talk.run || input.dataset.sending) return;
  const draft = draftOf(talk.id);
  write("");
  input.dataset.sending = "yes";
  const stored = await ask(content, { model: model() });
  delete input.dataset.sending;
  if (stored) ofTab.set(draft, "");
  else if (!input.value) write(content);
  if (!stored) ofTab.set(draft, content);
}

// Puts a text there, as if it had been typed.
export function write(text) {
  at("input").value = text;
  fit();
}

export const showDraft = () => write(ofTab.get(draftOf(talk.id)) ?? "");

function fit() {
  const input = at("input");
  input.style.height = "auto";
  input.style.height = `${Math.min(input.scrollHeight, innerHeight * 0.4)}px`;
  at("send").disabled = !input.value.trim();
}

export function running(isRunning) {
  at("stop").hidden = !isRunning;
  at("stop").disabled = !talk.run;
  at("send").hidden = isRunning;
  fit();
}
