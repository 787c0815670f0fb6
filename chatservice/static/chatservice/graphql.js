// Sends one operation: by POST, or by websocket when it is a subscription. Nothing is kept, the key least of all.
import { fetchResponse, socketUrl } from "../pages/api.js";
import { isComposing } from "../pages/dom.js";
import { pageUser } from "../pages/identity.js";
import { hello } from "../pages/operations.js";

const at = (id) => document.getElementById(id);
let socket = null;

function show(value, append = false) {
  const text = JSON.stringify(value, null, 2);
  at("answer").textContent = append ? `${at("answer").textContent}${text}\n` : text;
}

function stop() {
  if (socket) socket.close();
  socket = null;
  at("stop").disabled = true;
}

async function post(operation, key) {
  const headers = { "Content-Type": "application/json" };
  if (key) headers.Authorization = `Bearer ${key}`;
  const options = { method: "POST", headers, body: JSON.stringify(operation), anybody: Boolean(key) };
  const began = performance.now();
  const response = await fetchResponse("/graphql", options);
  show(await response.json());
  at("told").textContent = `HTTP ${response.status}, ${Math.round(performance.now() - began)} ms`;
}

function subscribe(operation, key) {
  const user = key ? [] : [`user.${pageUser().identity}`];
  socket = new WebSocket(socketUrl("/graphql"), ["graphql-transport-ws", ...user]);
  const mine = socket;
  const say = (frame) => mine.send(JSON.stringify(frame));
  at("answer").textContent = "";
  at("stop").disabled = false;
  mine.onopen = () => say({ type: "connection_init", payload: key ? { authorization: `Bearer ${key}` } : {} });
  mine.onmessage = (message) => {
    const frame = JSON.parse(message.data);
    if (frame.type === "connection_ack") say({ id: "1", type: "subscribe", payload: operation });
    else if (frame.type === "ping") say({ type: "pong" });
    else if (frame.type === "complete") stop();
    else if (frame.payload) show(frame.payload, true);
  };
  mine.onclose = (event) => {
    if (event.code !== 1000 && event.code !== 1005) show({ closed: event.code, reason: event.reason }, true);
    if (socket === mine) stop();
  };
}

// What is written as variables; null, and said beside them, where it is no object in JSON.
function variables() {
  let found = null;
  let problem = "";
  try {
    found = JSON.parse(at("variables").value || "{}");
    if (typeof found !== "object" || found === null || Array.isArray(found)) problem = "not an object";
  } catch (error) {
    problem = error.message;
  }
  at("no-json").textContent = problem && `The variables are no JSON object: ${problem}`;
  at("no-json").hidden = !problem;
  at("variables").setAttribute("aria-invalid", String(Boolean(problem)));
  if (problem) at("variables").focus();
  return problem ? null : found;
}

async function run() {
  const given = variables();
  if (!given) return;
  stop();
  at("told").textContent = "";
  try {
    const operation = { query: at("query").value, variables: given };
    const key = at("key").value.trim();
    if (!key && !pageUser()) await meet();
    if (/^\s*subscription\b/m.test(operation.query)) subscribe(operation, key);
    else await post(operation, key);
  } catch (error) {
    show({ error: String(error) });
  }
}

// Without a key it is the page of whoever is here now, and nothing of it goes out as anybody else's: see pages/api.js.
async function meet() {
  const { me } = await hello();
  at("key").placeholder = `empty: ${me.isGuest ? "a guest" : me.username}`;
}

meet().catch(() => {}); // it is asked again before anything is sent
at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
at("stop").addEventListener("click", stop);
at("form").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || isComposing(event)) return;
  event.preventDefault();
  run();
});
at("save").addEventListener("click", () => {
  const href = URL.createObjectURL(new Blob([at("schema").querySelector("pre").textContent], { type: "text/plain" }));
  Object.assign(document.createElement("a"), { href, download: "schema.graphql" }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60_000);
});
