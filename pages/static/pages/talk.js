// The conversation that is open: its messages, the answer that is being written, and what is asked in it.
import { at } from "./dom.js";
import { ofTab } from "./identity.js";
import { LiveAnswer } from "./live.js";
import { completeMessage, editor, markWords, messageElement } from "./message.js";
import * as operations from "./operations.js";
import { keepingPlace, placeRead, showMessage, startScrolling, toEnd } from "./scroll.js";
import { follow } from "./stream.js";
import { LiveThought } from "./thought.js";
import { toast, toastProblem, guarded } from "./toasts.js";

// `older` and `newer` say whether there is more beyond the rows that are here. `run` is the answer being written,
// `model` the one that was asked last. `generation` is what it keeps for its answers; of a new chat, what was chosen in
// it (`{}` is: nothing), or else the user's default, which the service gives it.
export const talk = { id: null, title: "", archived: false, pinned: false, generation: null, model: null, rows: [], older: false, newer: false, run: null };
let defaultGeneration = null;
let opening = 0;
let loading = false;
let on = { changed() {}, running() {}, opened() {}, moved() {}, busy() {}, answered() {} };

export function startTalk(handlers, byDefault) {
  on = handlers;
  defaultGeneration = byDefault;
  startScrolling({ older: () => load("older"), newer: () => load("newer"), end: goToEnd });
}

const elementOf = (id) => document.getElementById(`m-${id}`);
const actions = { edit, again: guarded(again), more: guarded(more), share: guarded(share), show: guarded(show) };
const say = (text) => (at("status").textContent = text);

// --- opening

export function close() {
  const generation = ofTab.get("generation") ?? defaultGeneration;
  reset({ id: null, title: "", archived: false, pinned: false, generation, model: null, rows: [], older: false, newer: false });
  on.opened();
}

function reset(found) {
  opening += 1;
  talk.run?.leave();
  Object.assign(talk, found, { run: null });
  at("messages").replaceChildren(...found.rows.map((row) => messageElement(row, actions)));
  edges();
  on.running(false);
}

// Opens a conversation, at `messageId` where one is given; returns whether it is there. With `top`, where its top is to
// be, the message has to be on the branch that is shown.
export async function open(id, { messageId = null, top = null } = {}) {
  const mine = (opening += 1);
  const found = messageId ? await operations.around(id, messageId, { mayShow: top === null }) : await operations.conversation(id);
  if (mine !== opening) return true;
  if (!found) return false;
  reset(found);
  on.opened();
  const target = messageId && elementOf(messageId);
  if (target) showMessage(target, top);
  else toEnd();
  if (target && top === null) flash(target);
  const writing = talk.rows.find((row) => row.status === "in_progress" && row.run);
  if (writing) watch(writing.run.id, writing);
  const edited = talk.rows.find((row) => row.id === ofTab.get("editing")?.id);
  if (edited && !writing) edit(edited);
  return true;
}

function flash(target) {
  markWords(target, on.words());
  target.classList.add("found");
  target.focus({ preventScroll: true });
  setTimeout(() => target.classList.remove("found"), 2_500);
}

export async function reload() {
  if (!talk.id || talk.run) return;
  const place = placeRead();
  if (!place || !(await open(talk.id, place))) await open(talk.id);
}

// --- more of it

function edges() {
  at("older").hidden = !talk.older;
  at("newer").hidden = !talk.newer;
  at("empty").hidden = Boolean(talk.id) || talk.rows.length > 0;
}

async function load(side) {
  if (loading || !talk[side] || !talk.rows.length) return;
  loading = true;
  const mine = opening;
  try {
    const end = side === "older" ? { before: talk.rows[0].id } : { after: talk.rows.at(-1).id };
    const found = await operations.more(talk.id, end);
    if (mine !== opening) return;
    talk[side] = found.more;
    const made = found.rows.map((row) => messageElement(row, actions));
    if (side === "older") {
      talk.rows.unshift(...found.rows);
      keepingPlace(() => (at("messages").prepend(...made), edges()));
    } else {
      talk.rows.push(...found.rows);
      at("messages").append(...made);
      edges();
    }
  } catch (problem) {
    toastProblem(problem, { action: "Try again", act: () => load(side) });
  } finally {
    loading = false;
  }
}

export async function goToEnd() {
  if (talk.newer) await guarded(open)(talk.id);
  else toEnd();
}

function add(row) {
  talk.rows.push(row);
  at("messages").append(messageElement(row, actions));
  edges();
}

function put(row) {
  const place = talk.rows.findIndex((each) => each.id === row.id);
  if (place < 0) return;
  talk.rows[place] = row;
  const before = elementOf(row.id);
  if (before?.live) {
    completeMessage(before, row, actions);
    return;
  }
  const after = messageElement(row, actions);
  const thought = after.querySelector(".thought");
  if (thought) thought.open = Boolean(before?.querySelector(".thought")?.open);
  before?.replaceWith(after);
}

// Takes everything away from `place` on: another branch begins there.
function cut(place) {
  for (const row of talk.rows.splice(place)) elementOf(row.id)?.remove();
  talk.newer = false;
}

// --- asking

const uuid = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// What a line that was cut may have lost is asked again with the same key: it is asked once.
async function patiently(work) {
  for (let failures = 0; ; failures += 1) {
    try {
      return await work();
    } catch (problem) {
      if (!problem.isNetwork || failures === 6) throw problem;
      if (failures === 0) say("No connection. Trying again.");
      await sleep(Math.min(4_000, 300 * 2 ** failures));
    }
  }
}

// Returns whether the question was stored; its text is the caller's to keep where it was not.
// `files` have id and name.
export async function ask(content, { parentId, model = null, whenBusy = "REJECT", files = [] } = {}) {
  if (talk.run && whenBusy === "REJECT") return false;
  if (talk.newer && parentId === undefined && !(await guarded(open)(talk.id))) return false;
  const fileIds = files.map(({ id }) => id);
  const generation = talk.id ? null : ofTab.get("generation");
  const question = { content, conversationId: talk.id, parentId, model, key: uuid(), whenBusy, fileIds, generation };
  ofTab.set("asking", question);
  if (generation) ofTab.set("generation", null); // it is this conversation's, no longer that of the next new chat
  return send(question);
}

async function send(question) {
  const mine = opening;
  const pending = { id: question.key, role: "user", content: question.content, pending: true };
  add(pending);
  toEnd();
  on.moved();
  on.running(true);
  try {
    const begun = await patiently(() => operations.send(question));
    ofTab.set("asking", null);
    if (mine === opening) {
      elementOf(pending.id).remove();
      talk.rows.pop();
      // What the question stopped is over by now, as is what waited for it.
      for (const row of talk.rows) if (row.status === "in_progress") finish(row.id);
      begin(begun);
    }
    on.changed(begun.conversation);
    return true;
  } catch (problem) {
    ofTab.set("asking", null);
    if (question.generation) ofTab.set("generation", question.generation);
    if (mine === opening) {
      cut(talk.rows.length - 1);
      on.running(Boolean(talk.run));
    }
    if (problem.code === "conversation_busy" && question.parentId === undefined) on.busy();
    else toastProblem(problem);
    return false;
  }
}

// A page that was left between asking and hearing of it asks once more: the key makes it the same question.
export async function resumeAsking() {
  const question = ofTab.get("asking");
  if (!question || (question.conversationId ?? null) !== talk.id) return;
  const stored = talk.rows.at(-1)?.status === "in_progress" || talk.rows.at(-2)?.content === question.content;
  if (stored) ofTab.set("asking", null);
  else await send(question);
}

function begin({ runId, conversation, question, message }) {
  const isNew = talk.id === null;
  const { id, title, generation } = conversation;
  Object.assign(talk, { id, title, generation, model: message.run?.model ?? talk.model });
  if (isNew) on.opened();
  if (question && !talk.rows.some((row) => row.id === question.id)) add(question);
  add(message);
  toEnd();
  // It may have ended before we heard that it began.
  if (message.status === "in_progress") watch(runId, message);
  else ended(message);
}

// --- the answer

function watch(runId, row) {
  const article = elementOf(row.id);
  article.classList.add("writing", "followed");
  article.body.setAttribute("aria-live", "polite");
  const live = new LiveAnswer(article.body);
  article.live = live;
  const thought = new LiveThought(article.body);
  const leave = follow(runId, {
    thought: (more) => thought.text(more),
    text: (more) => (thought.end(), live.text(more)),
    replace: (all) => live.replace(all),
    end: () => (thought.end(), finish(row.id)),
  });
  talk.run = { id: runId, messageId: row.id, leave };
  on.running(true);
  say("Answering.");
}

async function finish(messageId) {
  const mine = opening;
  let row = null;
  try {
    row = await patiently(() => operations.message(messageId));
  } catch (problem) {
    toastProblem(problem, { action: "Reload", act: () => guarded(open)(talk.id) });
  }
  if (mine !== opening) return;
  if (row) put(row);
  on.changed(talk);
  // Another answer may be followed by now: one that was asked for instead of this one.
  if (talk.run?.messageId !== messageId) return;
  talk.run = null;
  const next = talk.rows.find((each) => each.status === "in_progress" && each.run && each.id !== messageId);
  if (next) watch(next.run.id, next);
  else ended(row);
}

function ended(row) {
  say(row ? (elementOf(row.id)?.querySelector(".state span")?.textContent ?? "The answer is complete.") : "The answer ended.");
  on.running(false);
  if (row?.status === "complete" && isFirst(row)) on.answered(talk);
}

const isFirst = ({ id }) =>
  !talk.older && !talk.rows.some((each) => each.role === "assistant" && each.status === "complete" && each.id !== id);

export async function stop() {
  if (!talk.run) return;
  at("stop").disabled = true;
  await guarded(operations.stop)(talk.run.id);
}

function again(row) {
  return another(row, (key) => operations.regenerate(row.id, { model: on.model(), key }));
}

function more(row) {
  return another(row, (key) => operations.continueAnswer(row.id, { key }));
}

// Another answer takes the place of the one in `row`, or follows the question in it.
async function another(row, asking) {
  if (talk.run) return toast("Another answer is being written: stop it first.");
  const mine = opening;
  const key = uuid();
  const begun = await patiently(() => asking(key));
  if (mine !== opening) return undefined;
  const place = talk.rows.findIndex((each) => each.id === row.id);
  cut(row.role === "assistant" ? place : place + 1);
  on.moved();
  begin({ ...begun, question: null });
  on.changed(begun.conversation);
  return undefined;
}

function edit(row) {
  if (talk.run) return toast("An answer is being written: stop it first.");
  const article = elementOf(row.id);
  const kept = ofTab.get("editing");
  editor(article, kept?.id === row.id ? kept.content : row.content, {
    changed: (content) => ofTab.set("editing", { id: row.id, content }),
    leave: () => (ofTab.set("editing", null), article.querySelector("footer button")?.focus()),
    send: (content) => sendEdited(row, content),
  });
  return undefined;
}

async function sendEdited(row, content) {
  const place = talk.rows.findIndex((each) => each.id === row.id);
  const taken = { rows: talk.rows.slice(place), newer: talk.newer };
  const mine = opening;
  ofTab.set("editing", { id: row.id, content });
  cut(place);
  const files = row.files.filter(({ name }) => name !== null); // those that are gone cannot be sent again
  if (await ask(content, { parentId: row.parentId, model: on.model(), files })) return ofTab.set("editing", null);
  if (mine !== opening) return undefined;
  // Nothing was stored: all is as it was, with what was written.
  for (const each of taken.rows) add(each);
  talk.newer = taken.newer;
  edges();
  return edit(row);
}

export function editLast() {
  const last = talk.rows.findLast((row) => row.role === "user" && !row.pending);
  if (last && elementOf(last.id)) edit(last);
}

async function show(versionId, row) {
  if (talk.run) return toast("An answer is being written: stop it first.");
  const top = elementOf(row.id).getBoundingClientRect().top;
  await operations.showBranch(versionId);
  on.moved();
  await open(talk.id, { messageId: versionId, top });
  elementOf(versionId)?.focus({ preventScroll: true });
  on.changed(talk);
  return undefined;
}

async function share(row) {
  const { shareUpTo } = await import("./shared_links.js");
  await shareUpTo({ conversationId: talk.id, messageId: row.id, title: talk.title });
}

export const lastAnswer = () => talk.rows.findLast((row) => row.role === "assistant")?.content;
