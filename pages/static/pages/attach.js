// The pictures and files of the message that is being written: chosen, pasted or dropped, uploaded at once, kept with its draft.
import { ROOT, request, upload } from "./api.js";
import { at, el, icon, iconButton, isTyping } from "./dom.js";
import { explain } from "./errors.js";
import { ofTab, pageUser } from "./identity.js";
import { talk } from "./talk.js";
import { toast } from "./toasts.js";

// As chatservice/dialects/attached_files.py.
const MAX_FILES = 20;
// By the conversation that they are for. Each has name, size and type; `id` once it is uploaded, until then `aborter`.
const drafts = new Map();
// What is shown of each: made once, or pictures would flicker.
const items = new WeakMap();
let onChange = () => {};

const keyOf = (id) => id ?? "new";
const sizeOf = (bytes) => (bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} KB` : `${(bytes / 1e6).toFixed(1)} MB`);
const quoted = ({ name }) => `“${name}”`;

export function startAttaching(changed) {
  onChange = changed;
  at("attach").addEventListener("click", () => at("file").click());
  at("file").addEventListener("change", () => {
    attach([...at("file").files]);
    at("file").value = ""; // so that the same one can be chosen again
  });
  document.addEventListener("paste", paste);
  document.addEventListener("dragover", (event) => hasFiles(event) && (event.preventDefault(), dropping(true)));
  document.addEventListener("dragleave", (event) => event.relatedTarget === null && dropping(false));
  document.addEventListener("drop", drop);
}

// --- where they come from

const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
const dropping = (isOver) => at("composer").classList.toggle("dropping", isOver);
const isAsked = () => document.querySelector("dialog[open]");

function paste(event) {
  const files = [...(event.clipboardData?.files ?? [])];
  // Programs copy a picture of a text beside the text, which is what is meant.
  if (!files.length || event.clipboardData.types.includes("text/plain")) return;
  event.preventDefault();
  const isElsewhere = isTyping(event.target) && event.target !== at("input");
  if (isElsewhere || isAsked()) toast("Files go with a message: paste them where you write one.");
  else attach(files);
}

// Whatever is dropped, the page is not left for it.
function drop(event) {
  dropping(false);
  if (!hasFiles(event)) return;
  event.preventDefault();
  if (isAsked()) return void toast("Answer the question first, then drop the files.");
  const items = [...event.dataTransfer.items].filter((item) => item.kind === "file");
  const files = items.filter((item) => !item.webkitGetAsEntry?.()?.isDirectory).map((item) => item.getAsFile());
  if (files.length < items.length) toast("Folders cannot be attached: choose the files in them.");
  attach(files.filter(Boolean));
}

function attach(files) {
  if (!files.length) return;
  at("input").focus();
  if (pageUser().isGuest) return void toast("Guests have no files of their own: sign in to attach some.");
  attachTo(keyOf(talk.id), files);
}

function attachTo(key, files) {
  const refused = files.map((file) => begin(key, file)).filter(Boolean);
  if (refused.length) toast(refused.join(" "), { seconds: 12 });
}

// Begins to upload a file, or returns why not.
function begin(key, file) {
  const list = listOf(key);
  const most = Number(at("composer").dataset.bytes) || Infinity;
  const taken = list.reduce((sum, each) => sum + each.size, 0);
  if (!file.size) return `${quoted(file)} is empty.`;
  if (list.length >= MAX_FILES) return `${quoted(file)} is left out: a message takes ${MAX_FILES} files.`;
  if (file.size > most) return `${quoted(file)} is too large: it has ${sizeOf(file.size)}, and a message takes ${sizeOf(most)} of files.`;
  if (taken + file.size > most) return `${quoted(file)} is left out: a message takes ${sizeOf(most)} of files.`;
  const entry = { id: null, name: file.name, size: file.size, type: file.type, aborter: new AbortController() };
  entry.bar = el("progress", { max: "1", value: "0", "aria-label": `Upload of ${file.name}` });
  list.push(entry);
  send(key, entry, file);
  return null;
}

async function send(key, entry, file) {
  const form = new FormData();
  form.append("purpose", "user_data");
  form.append("file", file, file.name);
  changed(key);
  try {
    const stored = await upload("/v1/files", form, { progress: (part) => (entry.bar.value = part), signal: entry.aborter.signal });
    entry.id = stored.id;
    items.delete(entry);
  } catch (problem) {
    take(key, entry);
    if (problem.name === "AbortError") return;
    const act = () => attachTo(key, [file]);
    toast(`${quoted(file)} was not uploaded. ${explain(problem)}`, { action: "Try again", act, seconds: 15 });
  }
  changed(key);
}

// --- which there are

function listOf(key) {
  if (!pageUser()) return []; // whose draft it is is not known yet
  if (!drafts.has(key)) drafts.set(key, ofTab.get(`files:${key}`) ?? []);
  return drafts.get(key);
}

function take(key, entry) {
  const list = listOf(key);
  if (list.includes(entry)) list.splice(list.indexOf(entry), 1);
}

function changed(key) {
  const kept = listOf(key).filter(({ id }) => id).map(({ id, name, size, type }) => ({ id, name, size, type }));
  ofTab.set(`files:${key}`, kept.length ? kept : null);
  if (key === keyOf(talk.id)) showAttached();
}

function remove(key, entry) {
  take(key, entry);
  changed(key);
  at("input").focus();
  if (!entry.id) entry.aborter.abort();
  else request(`/v1/files/${entry.id}`, { method: "DELETE" }).catch(() => {}); // it stays among the account's files
}

export function showAttached() {
  const key = keyOf(talk.id);
  for (const entry of listOf(key)) if (!items.has(entry)) items.set(entry, itemOf(key, entry));
  at("attached").replaceChildren(...listOf(key).map((entry) => items.get(entry)));
  at("attached").hidden = !listOf(key).length;
  onChange();
}

function itemOf(key, entry) {
  const away = iconButton("close", `Remove ${entry.name}`, () => remove(key, entry));
  const item = el("li", { class: "chip" }, chipOf(entry), entry.id ? null : entry.bar, away);
  if (!entry.id || !entry.type.startsWith("image/")) return item;
  const image = el("img", { src: `${ROOT}/files/${entry.id}/thumbnail`, alt: entry.name, title: `${entry.name}, ${sizeOf(entry.size)}` });
  // Broken, or too large for a thumbnail: then it is a file like others.
  image.addEventListener("error", () => image.replaceWith(chipOf(entry)));
  item.firstChild.replaceWith(image);
  return item;
}

const chipOf = ({ name, size }) =>
  el("span", {}, icon("file"), el("span", { class: "file-name", dir: "auto" }, name), el("span", { class: "muted" }, sizeOf(size)));

export const attached = () => [...listOf(keyOf(talk.id))];
export const isUploading = () => listOf(keyOf(talk.id)).some(({ id }) => !id);

// They are sent with a message of the conversation `id`; `giveBack` if that failed.
export function clearAttached(id) {
  drafts.set(keyOf(id), []);
  changed(keyOf(id));
}

export function giveBack(id, files) {
  listOf(keyOf(id)).unshift(...files);
  changed(keyOf(id));
}
