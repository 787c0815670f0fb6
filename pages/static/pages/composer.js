// Where one writes: grows with the text, keeps a draft for each conversation, sends on Enter.
import { at, el, isComposing, memory, ofBrowser } from "./dom.js";
import { ofTab } from "./identity.js";
import { ask, editLast, stop, talk } from "./talk.js";
import { toast } from "./toasts.js";

const draftOf = (id) => `draft:${id ?? "new"}`;
// A guest's text for whoever signs in next in this tab: everybody at this machine may see it anyway.
const handedOver = memory(() => sessionStorage);

export function startComposer() {
  const input = at("input");
  // Somebody may have begun to write before it was known whose page this is.
  const written = input.value || handedOver.get("draft");
  handedOver.set("draft", null);
  if (written) ofTab.set(draftOf(null), written);
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
    if (isComposing(event)) return;
    if (event.key === "Enter" && !event.shiftKey) {
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

async function send(whenBusy = "REJECT") {
  const input = at("input");
  const content = input.value;
  if (!content.trim() || input.dataset.sending) return;
  if (talk.run && whenBusy === "REJECT") return offerInterrupt();
  const draft = draftOf(talk.id);
  write("");
  input.dataset.sending = "yes";
  const stored = await ask(content, { model: model(), whenBusy });
  delete input.dataset.sending;
  if (stored) ofTab.set(draft, "");
  else if (!input.value) write(content);
  if (!stored) ofTab.set(draft, content);
}

// An answer is being written, here or in another tab: the text stays in the field until somebody decides.
export function offerInterrupt() {
  toast("An answer is being written.", { action: "Stop it and ask", act: () => send("INTERRUPT") });
}

// Puts a text there, as if it had been typed.
export function write(text) {
  at("input").value = text;
  fit();
}

export function handOverDraft() {
  handedOver.set("draft", at("input").value);
  ofTab.set(draftOf(talk.id), null);
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
