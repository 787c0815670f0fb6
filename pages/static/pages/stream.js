// Follows answers while they are written: by websocket, and where none comes up, by server-sent events.
//
// Each run keeps the cursor of the last thing that was shown. Whatever breaks, we come back with it: the service
// goes on from there, with nothing missing and nothing repeated.
import { fetchResponse, pageRefused, socketUrl } from "./api.js";
import { pageUser } from "./identity.js";

const PING_MS = 15_000;
const SILENCE_MS = 10_000;
const IDLE_MS = 60_000;
const SOCKET_TRIES = 2;
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const backoff = (failures) => Math.min(5_000, 250 * 2 ** failures) * (0.75 + Math.random() / 2);

const runs = new Map();
let socket = null;
let everOpened = false;
let failures = 0;
let pinger = 0;
let deadline = 0;
let idler = 0;
let onLine = () => {};

// Calls back with true while answers can arrive, and false while the line is down.
export const watchLine = (callback) => (onLine = callback);

// handlers: thought(more), text(more), replace(all), end(). `end` comes exactly once. Returns what stops following.
export function follow(runId, handlers) {
  leave(runId);
  const run = { id: runId, cursor: null, handlers, aborter: null };
  runs.set(runId, run);
  clearTimeout(idler);
  if (useEvents()) readEvents(run);
  else if (socket?.readyState === WebSocket.OPEN) subscribe(run);
  else connect();
  return () => runs.get(runId) === run && leave(runId);
}

function leave(runId) {
  const run = runs.get(runId);
  if (!run) return;
  runs.delete(runId);
  run.aborter?.abort();
  if (socket?.readyState === WebSocket.OPEN) say({ type: "unsubscribe", run_id: runId });
  clearTimeout(idler);
  if (!runs.size) idler = setTimeout(() => !runs.size && socket?.close(1000), IDLE_MS);
}

function end(run) {
  if (runs.get(run.id) !== run) return;
  leave(run.id);
  run.handlers.end();
}

// --- by websocket

const useEvents = () => !everOpened && failures >= SOCKET_TRIES;
const say = (frame) => socket.send(JSON.stringify(frame));
const subscribe = (run) => say({ type: "subscribe", id: run.id, run_id: run.id, cursor: run.cursor, reasoning: true });

function connect() {
  if (socket) return;
  let opening;
  try {
    // A browser cannot send a header here: whose page it is comes as a second subprotocol.
    opening = new WebSocket(socketUrl("/ws/chat"), ["chat.v1", `user.${pageUser().identity}`]);
  } catch {
    return fallBack();
  }
  socket = opening;
  const giveUp = setTimeout(() => opening.readyState === WebSocket.CONNECTING && opening.close(), SILENCE_MS);
  opening.onopen = () => {
    clearTimeout(giveUp);
    everOpened = true;
    failures = 0;
    pinger = setInterval(ping, PING_MS);
    onLine(true);
    for (const run of runs.values()) subscribe(run);
  };
  opening.onmessage = (event) => {
    clearTimeout(deadline);
    receive(JSON.parse(event.data));
  };
  opening.onclose = async (event) => {
    clearTimeout(giveUp);
    clearTimeout(deadline);
    clearInterval(pinger);
    if (socket === opening) socket = null;
    if (event.code === 4401) return pageRefused();
    if (!runs.size) return;
    onLine(false);
    await reconnect();
  };
}

export async function reconnect() {
  await wait(backoff(failures++));
  if (!socket && runs.size) useEvents() ? fallBack() : connect();
}

// A connection that broke silently looks open: a service that does not answer in time is gone.
function ping() {
  if (socket?.readyState !== WebSocket.OPEN) return;
  const asked = socket;
  say({ type: "ping" });
  clearTimeout(deadline);
  deadline = setTimeout(() => {
    asked.onclose({ code: 1006 });
    asked.onclose = asked.onmessage = null;
    asked.close();
  }, SILENCE_MS);
}

function receive(frame) {
  const run = runs.get(frame.run_id ?? frame.id);
  if (!run) return;
  if (frame.type === "error" && !frame.run_id) return refused(run, frame.data);
  if (frame.cursor) run.cursor = frame.cursor;
  if (frame.type === "ai_chunk") run.handlers.text(frame.data);
  else if (frame.type === "ai_reasoning") run.handlers.thought(frame.data);
  else if (frame.type === "resync") run.handlers.replace(frame.data);
  else if (frame.type === "ai_complete" || frame.type === "error") end(run);
}

async function refused(run, { code, retry_after: after }) {
  if (code === "bad_cursor") {
    run.cursor = null;
    run.handlers.replace("");
  } else if (code === "not_found") {
    return end(run);
  }
  await wait((after ?? 1) * 1_000);
  if (runs.get(run.id) === run && socket?.readyState === WebSocket.OPEN) subscribe(run);
}

window.addEventListener("online", () => {
  failures = 0;
  if (runs.size && !socket && !useEvents()) connect();
  else if (socket) ping();
});

// --- by server-sent events

function fallBack() {
  for (const run of runs.values()) if (!run.aborter) readEvents(run);
}

async function readEvents(run) {
  let lost = 0;
  while (runs.get(run.id) === run) {
    run.aborter = new AbortController();
    try {
      const headers = run.cursor ? { "Last-Event-ID": run.cursor } : {};
      const response = await fetchResponse(`/runs/${run.id}/stream?reasoning=true`, { headers, signal: run.aborter.signal });
      if (response.status === 401) return void (run.aborter = null);
      if (!response.ok && response.status !== 429 && response.status !== 503) return end(run);
      if (response.ok) {
        onLine(true);
        lost = 0;
        if (await readBody(run, response.body)) return end(run);
      }
    } catch (error) {
      if (error.name === "AbortError") return;
    }
    onLine(false);
    await wait(backoff(lost++));
  }
}

// Returns whether the stream came to its end, rather than breaking off.
async function readBody(run, body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return false;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) if (readBlock(run, block)) return true;
  }
}

function readBlock(run, block) {
  const fields = Object.fromEntries(block.split("\n").map((line) => [line.split(":", 1)[0], line.slice(line.indexOf(":") + 1).trimStart()]));
  if (fields.data === undefined) return false;
  if (fields.data === "[DONE]") return true;
  if (fields.id) run.cursor = fields.id;
  const { content: text, reasoning } = JSON.parse(fields.data).choices?.[0]?.delta ?? {};
  if (reasoning) run.handlers.thought(reasoning);
  if (text === undefined) return false;
  if (fields.event === "resync") run.handlers.replace(text);
  else if (text) run.handlers.text(text);
  return false;
}
