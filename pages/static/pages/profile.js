// The profile: failed sign-ins, keys, usage, the access log, and what can be done with all of it. Asks the v1 API, as the session's user.
import { ROOT, fetchResponse, request, signIn } from "./api.js";
import { ask } from "./dialogs.js";
import { at, el, ofBrowser } from "./dom.js";
import { announce, watchIdentity } from "./identity_watch.js";
import { startImports } from "./imports.js";
import { loadKeys, makeKey } from "./keys.js";
import { hello } from "./operations.js";
import { loadSharedLinks } from "./shared_links_list.js";
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

const PERIODS = { day: "day", week: "week", month: "month", total: "all time" };

// One line for tokens, and one for what they cost, where a budget has both.
function budgetRows(budget) {
  const kinds = [["tokens", (amount) => `${number.format(amount)} tokens`], ["cost", (amount) => money(budget.currency).format(amount)]];
  const told = [budget.name, ...(budget.is_shared ? ["(shared)"] : []), ...(budget.is_hard ? [] : ["(only warns)"])].join(" ");
  return kinds
    .filter(([kind]) => budget[`max_${kind}`] !== null)
    .map(([kind, shown]) =>
      el("tr", {},
        cell(told, "brief"), cell(PERIODS[budget.period]),
        cell(`${shown(budget[`used_${kind}`])} of ${shown(budget[`max_${kind}`])}`, "number"),
        cell(shown(budget[`left_${kind}`]), "number"), cell(when(budget.renews_at, "never"))),
    );
}

async function loadBudgets() {
  const { data } = await request(`${BASE}/me/budgets`);
  at("my-budgets").hidden = !data.length;
  rows("budgets", data.flatMap(budgetRows), 5, "None.");
}

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

const KINDS = { transcript: "Read a conversation", search: "Searched", export: "Exported", key: "Made a key of this account" };
const accessRow = (entry) =>
  el("tr", {}, cell(when(entry.created_at)), cell(entry.reader), cell(KINDS[entry.kind] ?? entry.kind), accessedCell(entry), cell(entry.reason, "wrap"));
const loadAccessLog = pages("access-log", "access-log", accessRow, 5, "Nobody has read your conversations.");

// Which conversation it was, and whose where a client of the API named its end user.
function accessedCell({ conversation_id: id, title, end_user: endUser }) {
  if (title === null) return cell(id ? "deleted since" : "—", "brief");
  const whose = endUser ? [` of ${endUser}`] : [];
  return el("td", { class: "brief", dir: "auto" }, el("a", { href: `${ROOT}/#${id}` }, title || "Untitled"), ...whose);
}

// --- what new chats begin with

function offerModels({ me, models, defaultModel }) {
  at("preferred-model").replaceChildren(
    el("option", { value: "" }, `${defaultModel} (default)`),
    ...models.filter((name) => name !== defaultModel).map((name) => el("option", { value: name }, name)),
  );
  at("preferred-model").value = me.preferredModel === defaultModel ? "" : me.preferredModel ?? "";
}

async function saveModel() {
  const body = { preferred_model: at("preferred-model").value || null };
  await request(`${BASE}/me`, { method: "PATCH", body });
  // What was chosen before, in a new chat of this browser.
  ofBrowser.set("model", null);
  toast("Saved.");
}

let defaultGeneration = null;

function showDefaults(generation) {
  defaultGeneration = generation;
  at("default-instructions-state").textContent = generation ? "New conversations begin with some." : "None are set.";
}

async function editDefaults() {
  const { editInstructions } = await import("./instructions.js");
  const about = "What your new conversations begin with. Those that are there keep theirs, and each can have its own.";
  const save = async (given) => {
    const { data } = await request(`${BASE}/me`, { method: "PATCH", body: { default_generation: given } });
    showDefaults(data.default_generation);
  };
  if (await editInstructions(defaultGeneration, save, about)) toast("Saved.");
}

// --- signing in, and somebody else at the door

async function loadAccount() {
  const { data } = await request(`${BASE}/me`);
  showDefaults(data.default_generation);
  // There is none where passwords do not sign in.
  if (at("password")) at("password").hidden = !data.has_password;
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
  const typed = await ask({ title: "Delete everything?", label: `Type ${name} to delete this account, its conversations and keys, immediately and permanently`, action: "Delete everything", required: true, destroys: true });
  if (typed === null) return;
  if (typed.trim() !== name) return void toast("That is not the username: nothing was deleted.");
  const body = { username: name };
  if (isStaff) {
    body.password = await ask({ title: "Your password", label: "Deleting a staff account takes its password", action: "Delete everything", type: "password", maxlength: 4096, required: true, destroys: true });
    if (body.password === null) return;
  }
  await request(`${BASE}/me`, { method: "DELETE", body });
  await request("/logout", { method: "POST" });
  announce(null);
  location.assign(`${ROOT}/`);
}

async function start() {
  const known = await hello();
  const { username, isGuest, isStaff } = known.me;
  if (isGuest) return signIn();
  watchIdentity();
  at("name").textContent = username;
  offerModels(known);
  at("new-chats").addEventListener("submit", (event) => (event.preventDefault(), guarded(saveModel)()));
  at("default-instructions").addEventListener("click", guarded(editDefaults));
  at("new-key").addEventListener("submit", (event) => (event.preventDefault(), guarded(makeKey)()));
  at("export").addEventListener("click", guarded(exportAll));
  at("delete").addEventListener("click", guarded(() => deleteAll({ username, isStaff })));
  await Promise.all([
    ...[loadKeys(), loadUsage(), loadBudgets(), isStaff || loadUsageOfGroups(), loadAccessLog(), loadAccount(), loadStorage()],
    ...[loadSharedLinks(), startImports(loadStorage)],
  ]);
  document.body.dataset.ready = "yes";
}

start().catch((problem) => {
  if (problem.status === 401) signIn();
  else toastProblem(problem, { action: "Reload", act: () => location.reload(), seconds: 60 });
});
