// The profile: failed sign-ins, keys, usage, the access log, and what can be done with all of it. Asks the v1 API, as the session's user.
import { ROOT, fetchResponse, request, signIn } from "./api.js";
import { ask } from "./dialogs.js";
import { at, el } from "./dom.js";
import { announce, watchIdentity } from "./identity_watch.js";
import { loadKeys, makeKey } from "./keys.js";
import { hello } from "./operations.js";
import { BASE, cell, pages, rows, when } from "./tables.js";
import { guarded, toast, toastProblem } from "./toasts.js";

// --- usage and access log

const number = new Intl.NumberFormat();

const money = (currency) => new Intl.NumberFormat(undefined, { style: "currency", currency, maximumFractionDigits: 6 });

// What the priced answers cost together; nothing where no price is known.
function costs(data) {
  const priced = data.filter((row) => row.unpriced < row.runs);
  return priced.length ? `, ${money(priced[0].currency).format(priced.reduce((total, row) => total + Number(row.cost), 0))}` : "";
}

async function loadUsage() {
  const { data } = await request(`${BASE}/me/usage`);
  const sum = (name) => number.format(data.reduce((total, row) => total + row[name], 0));
  if (data.length) {
    at("usage-sum").textContent = `The last 30 days: ${sum("runs")} answers, ${sum("prompt_tokens")} tokens in, ${sum("completion_tokens")} out${costs(data)}.`;
  }
  rows("usage", data.map((row) => el("tr", {}, cell(row.day), cell(row.model), ...amounts(row))), 7, "No usage in the last 30 days.");
}

const amounts = (row) => [
  ...["runs", "failed", "prompt_tokens", "completion_tokens"].map((name) => cell(number.format(row[name]), "number")),
  cell(row.unpriced === row.runs ? "—" : money(row.currency).format(row.cost), "number"),
];

// Whoever owns no group gets none; staff have pages for it in the admin.
async function loadUsageOfGroups() {
  const { data } = await request(`${BASE}/usage?by=user`);
  at("groups").hidden = !data.length;
  rows("groups-usage", data.map((row) => el("tr", {}, cell(row.name), ...amounts(row))), 6, "None.");
}

const megabytes = (bytes) => `${number.format(Math.round(bytes / 10_000) / 100)} MB`;

async function loadStorage() {
  const { data } = await request(`${BASE}/me/storage`);
  const of = (held, limit, shown) => (limit ? `${shown(held)} of ${shown(limit)}` : shown(held));
  const messages = of(data.messages, data.messages_limit, number.format);
  at("storage").textContent = `Stored: ${messages} messages, ${of(data.bytes, data.bytes_limit, megabytes)}.`;
}

const KINDS = { transcript: "Read a conversation", search: "Searched", export: "Exported" };
const accessRow = (entry) =>
  el("tr", {}, cell(when(entry.created_at)), cell(entry.reader), cell(KINDS[entry.kind] ?? entry.kind), cell(entry.reason, "wrap"));
const loadAccessLog = pages("access-log", "access-log", accessRow, 4, "Nobody has read your conversations.");

// --- somebody else at the door

async function loadFailedSignIns() {
  const { data } = await request(`${BASE}/me`);
  const made = data.failed_sign_ins.map((row) =>
    el("tr", {}, cell(row.network), cell(number.format(row.attempts), "number"), cell(when(row.first_at)), cell(when(row.last_at))),
  );
  at("failed").hidden = !made.length;
  rows("failed-sign-ins", made, 4, "None.");
}

// --- all of it, and the end

// Not a plain link: that would not name this page's user, and load the data of whoever is signed in by now.
async function exportAll() {
  at("export").disabled = true;
  try {
    const response = await fetchResponse(`${BASE}/me/export`);
    if (response.status === 401) return;
    if (!response.ok) return void toast("The export failed. Try again later.");
    const url = URL.createObjectURL(await response.blob());
    el("a", { href: url, download: "chat-export.ndjson" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  } finally {
    at("export").disabled = false;
  }
}

async function deleteAll({ username: name, isStaff }) {
  const typed = await ask({ title: "Delete everything?", label: `Type ${name} to delete this account, its conversations and keys, immediately and permanently`, action: "Delete everything", required: true });
  if (typed === null) return;
  if (typed.trim() !== name) return void toast("That is not the username: nothing was deleted.");
  const body = { username: name };
  if (isStaff) {
    body.password = await ask({ title: "Your password", label: "Deleting a staff account takes its password", action: "Delete everything", type: "password", maxlength: 4096, required: true });
    if (body.password === null) return;
  }
  await request(`${BASE}/me`, { method: "DELETE", body });
  await request("/logout", { method: "POST" });
  announce(null);
  location.assign(`${ROOT}/`);
}

async function start() {
  const { username, isGuest, isStaff } = (await hello()).me;
  if (isGuest) return signIn();
  watchIdentity();
  at("name").textContent = username;
  at("new-key").addEventListener("submit", (event) => (event.preventDefault(), guarded(makeKey)()));
  at("export").addEventListener("click", guarded(exportAll));
  at("delete").addEventListener("click", guarded(() => deleteAll({ username, isStaff })));
  await Promise.all([loadKeys(), loadUsage(), isStaff || loadUsageOfGroups(), loadAccessLog(), loadFailedSignIns(), loadStorage()]);
  document.body.dataset.ready = "yes";
}

start().catch((problem) => {
  if (problem.status === 401) signIn();
  else toastProblem(problem, { action: "Reload", act: () => location.reload(), seconds: 60 });
});
