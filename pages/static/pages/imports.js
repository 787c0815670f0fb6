// Importing history: a file is uploaded and then read by the service, which tells how far it is, also after a reload.
import { request, upload } from "./api.js";
import { at, el } from "./dom.js";
import { explain } from "./errors.js";
import { ofTab } from "./identity.js";
import { BASE } from "./tables.js";
import { guarded } from "./toasts.js";

const POLL = 1_000;
const DAY_SECONDS = 86_400; // after which an uploaded file is deleted, if this page could not do it
const WANTED = "Choose the zip of an export as it was downloaded, its conversations.json, or a .jsonl file.";
const number = new Intl.NumberFormat();
const counted = (count, one, many = `${one}s`) => `${number.format(count)} ${count === 1 ? one : many}`;
const megabytes = (bytes) => `${number.format(Math.round(bytes / 1e5) / 10)} MB`;
const isOver = ({ state }) => !["waiting", "running"].includes(state);

let aborter = null; // while a file is being uploaded
let running = null; // the import that is shown, until it is over
let told = "";
let onEnd = () => {};

export async function startImports(ended) {
  onEnd = ended;
  const most = mostBytes();
  if (most < Infinity) at("import-limit").textContent = `, of at most ${megabytes(most)}`;
  at("import").addEventListener("submit", (event) => (event.preventDefault(), guarded(begin)()));
  at("import-cancel").addEventListener("click", guarded(cancel));
  const { data } = await request(`${BASE}/imports`);
  if (!data.length) return;
  if (isOver(data[0])) told = resultOf(data[0]); // no news
  show(data[0]);
  if (running) poll();
}

const mostBytes = () => Number(at("import").dataset.bytes) || Infinity;

async function begin() {
  const [file] = at("import-file").files;
  const most = mostBytes();
  if (!file.size) return say(`“${file.name}” is empty. ${WANTED}`);
  if (file.size > most) {
    const text = `“${file.name}” is too large: it has ${megabytes(file.size)}, and this page takes ${megabytes(most)}.`;
    return say(`${text} Give its conversations.json alone, or ask whoever runs this service to import it.`);
  }
  aborter = new AbortController();
  say(`“${file.name}” is being uploaded. Keep this page open until then.`, 0);
  try {
    const stored = await send(file);
    const { data } = await request(`${BASE}/imports`, { method: "POST", body: { file_id: stored.id } });
    ofTab.set(`import:${data.id}`, stored.id);
    at("import").reset();
    show(data);
    poll();
  } catch (problem) {
    if (problem.status === 401) return say("");
    if (!problem.code && problem.name !== "AbortError") console.error(problem);
    const why = problem.name === "AbortError" ? "The upload was cancelled." : explain(problem);
    say(`“${file.name}” was not imported. ${why}`);
  } finally {
    aborter = null;
  }
}

function send(file) {
  const form = new FormData();
  form.append("purpose", "user_data");
  form.append("expires_after[anchor]", "created_at");
  form.append("expires_after[seconds]", String(DAY_SECONDS));
  form.append("file", file, file.name);
  return upload("/v1/files", form, { progress: (part) => (at("import-progress").value = part), signal: aborter.signal });
}

async function cancel() {
  if (aborter) return aborter.abort();
  if (!running) return;
  const { data } = await request(`${BASE}/imports/${running.id}/cancel`, { method: "POST" });
  show(data, "It is being cancelled.");
}

// Until it is over; a service that does not answer for a while is asked again.
async function poll() {
  while (running) {
    await new Promise((done) => setTimeout(done, POLL));
    try {
      show((await request(`${BASE}/imports/${running.id}`)).data);
    } catch (problem) {
      if (problem.status === 401) return;
      if (problem.status === 404) return void ((running = null), say("This import no longer exists."));
      at("import-state").textContent = `${explain(problem)} The import goes on without this page.`;
    }
  }
}

function show(row, more = "") {
  const wasRunning = running !== null;
  running = isOver(row) ? null : row;
  at("import").querySelector("button").disabled = Boolean(running);
  if (running) {
    const part = row.size ? row.read / row.size : null;
    const found = row.created + row.extended + row.unchanged + row.skipped;
    const so = found ? `: ${counted(found, "conversation")} so far` : "";
    say(`“${row.file_name}” is being imported${so}. ${more || "You can leave this page."}`, part, Math.floor((part ?? 0) * 4));
  } else {
    say(resultOf(row));
    if (wasRunning) end(row);
  }
  showDetails(row);
}

function end({ id }) {
  const file = ofTab.get(`import:${id}`);
  ofTab.set(`import:${id}`, null);
  if (file) request(`/v1/files/${file}`, { method: "DELETE" }).catch(() => {}); // it expires
  guarded(onEnd)();
}

function resultOf(row) {
  const name = `“${row.file_name}”`;
  const counts = [
    [row.created, `${counted(row.created, "conversation")} added`],
    [row.extended, `${number.format(row.extended)} extended`],
    [row.unchanged, `${number.format(row.unchanged)} already here`],
    [row.skipped, `${number.format(row.skipped)} refused`],
  ];
  const parts = counts.filter(([count]) => count).map(([, text]) => text);
  const stored = row.messages ? `; ${counted(row.messages, "message")}${row.files ? ` and ${counted(row.files, "file")}` : ""}` : "";
  const became = parts.length ? `${parts.join(", ")}${stored}.` : "Nothing was added.";
  if (row.state === "cancelled") return `The import of ${name} was cancelled. ${became}`;
  if (row.state === "finished") return `The import of ${name} is finished: ${became}`;
  const why = { unreadable: `${row.error.message}. ${WANTED}`, file_not_found: row.error.message };
  return `${name} was not imported: ${why[row.error.code] ?? row.error.message}${row.created ? ` Before that: ${became}` : ""}`;
}

// Screen readers are told of the beginning, each quarter, and the end; `part` is null while it is not known, none without a bar.
function say(text, part, quarter = 0) {
  at("import-shown").hidden = !text;
  at("import-state").textContent = text;
  at("import-running").hidden = part === undefined;
  if (part === null) at("import-progress").removeAttribute("value");
  else if (part !== undefined) at("import-progress").value = part;
  at("import-details").hidden = true;
  const now = part === undefined ? text : `${quarter}`;
  if (now !== told) at("import-told").textContent = quarter ? `${quarter * 25} percent. ${text}` : text;
  told = now;
}

function showDetails({ not_imported: refused, skipped, left_out: leftOut }) {
  const more = skipped - refused.length;
  const items = [
    ...refused.map(({ name, reason }) => el("li", { dir: "auto" }, `${name}: ${reason}`)),
    more > 0 && el("li", {}, `${number.format(more)} more.`),
    ...Object.entries(leftOut).map(([kind, count]) => el("li", {}, `${kind}: ${number.format(count)}`)),
  ].filter(Boolean);
  at("import-details").hidden = !items.length;
  at("import-details").querySelector("summary").textContent = "What was not imported, and why";
  at("import-details").querySelector("ul").replaceChildren(...items);
}
