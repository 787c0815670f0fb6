// Where one writes: grows with the text, keeps a draft for each conversation, sends on Enter.
import { attached, clearAttached, giveBack, isUploading, startAttaching } from "./attach.js";
import { at, el, isComposing, memory, ofBrowser } from "./dom.js";
import { ofTab } from "./identity.js";
import { isShortEnough } from "./limit.js";
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
  at("model").addEventListener("change", chooseModel);
  startAttaching(fit);
}

// --- which model answers

const modelOf = (id) => `model:${id}`;
const modelOfNew = modelOf("new");
let offered = { names: [], fallback: "", preferred: null };

export const model = () => at("model").value || null;

export function offerModels(names, fallback, preferred) {
  offered = { names: names.filter((name) => name !== fallback), fallback, preferred };
  showModel();
}

// What is chosen in a conversation is for that one, until it is asked; in a new chat, for all new chats, unless they begin
// with what the user prefers: then it is for this one.
function chooseModel() {
  if (talk.id || offered.preferred) ofTab.set(talk.id ? modelOf(talk.id) : modelOfNew, model() ?? offered.fallback);
  else ofBrowser.set("model", at("model").value);
}

// A conversation goes on with the model that answered last.
export function showModel() {
  const { names, fallback, preferred } = offered;
  const first = preferred && (ofTab.get(modelOfNew) ?? preferred);
  const last = talk.id ? (ofTab.get(modelOf(talk.id)) ?? talk.model) : first;
  const wanted = last ?? ofBrowser.get("model") ?? "";
  // What is not in the list may still be asked.
  if (wanted && wanted !== fallback && !names.includes(wanted)) names.unshift(wanted);
  at("model").replaceChildren(
    el("option", { value: "" }, `${fallback} (default)`),
    ...names.map((name) => el("option", { value: name }, name)),
  );
  at("model").value = wanted === fallback ? "" : wanted;
}

async function send(whenBusy = "REJECT") {
  const input = at("input");
  const content = input.value;
  const files = attached();
  if ((!content.trim() && !files.length) || input.dataset.sending || !isShortEnough(input, at("too-long"))) return;
  if (isUploading()) return toast("A file is still on its way: wait for it, or remove it.");
  if (talk.run && whenBusy === "REJECT") return offerInterrupt();
  const { id } = talk;
  const draft = draftOf(id);
  write("");
  clearAttached(id);
  input.dataset.sending = "yes";
  const stored = await ask(content, { model: model(), whenBusy, files });
  delete input.dataset.sending;
  if (stored) {
    ofTab.set(draft, "");
    ofTab.set(id ? modelOf(id) : modelOfNew, null);
  } else if (!input.value) write(content);
  if (!stored) {
    ofTab.set(draft, content);
    giveBack(id, files);
  }
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
  const isEmpty = !input.value.trim() && !attached().length;
  at("send").disabled = !isShortEnough(input, at("too-long")) || isEmpty || isUploading();
}

export function running(isRunning) {
  at("stop").hidden = !isRunning;
  at("stop").disabled = !talk.run;
  at("send").hidden = isRunning;
  fit();
}
