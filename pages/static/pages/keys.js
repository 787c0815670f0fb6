// My keys: what each may do, where it was used, and making, rotating and revoking one.
import { request } from "./api.js";
import { confirm } from "./dialogs.js";
import { at, el } from "./dom.js";
import { copy } from "./message.js";
import { BASE, cell, pages, when } from "./tables.js";
import { guarded, toast } from "./toasts.js";

export const loadKeys = pages("me/keys", "keys", keyRow, 6, "No keys yet.");

function keyRow(key) {
  const gone = key.revoked_at || (key.expires_at && new Date(key.expires_at) < new Date());
  const until = key.revoked_at ? `revoked ${when(key.revoked_at)}` : when(key.expires_at, "no expiry");
  const name = key.name || key.prefix;
  const act = (label, does, kind = "link") => el("button", { type: "button", class: kind, "aria-label": `${label} ${name}`, onclick: guarded(() => does(key)) }, label);
  const from = [...new Set(key.uses.map((use) => use.network))].join(", ");
  return el(
    "tr",
    { class: gone ? "gone" : "" },
    el("td", { class: "brief", dir: "auto" }, key.name || "unnamed", el("br"), el("code", {}, `${key.prefix}…`)),
    cell([key.scopes ? key.scopes.join(", ") : "everything", ...(key.networks ? [`from ${key.networks.join(", ")}`] : [])].join("; "), "brief"),
    cell(when(key.created_at), "brief"),
    cell([when(key.last_used_at, "never"), ...(from ? [`from ${from}`] : [])].join(" "), "brief"),
    cell(until, "brief"),
    gone ? el("td", {}) : el("td", {}, act("Rotate", rotateKey), " ", act("Revoke", revokeKey, "link danger")),
  );
}

function show(text) {
  at("made").replaceChildren(
    el("strong", {}, "Your new key. Keep it safe: it is shown only now."),
    el("div", { class: "row" }, el("code", {}, text), el("button", { type: "button", onclick: () => copy(text) }, "Copy")),
  );
  at("made").hidden = false;
}

export async function makeKey() {
  const days = Number(at("key-days").value);
  const scopes = [...at("new-key").querySelectorAll("input[name=scope]:checked")].map((box) => box.value);
  if (!scopes.length) return void toast("Choose at least one thing that the key may do.");
  const networks = at("key-networks").value.split(/[\s,]+/).filter(Boolean);
  const body = { name: at("key-name").value, expires_at: days ? new Date(Date.now() + days * 86_400_000).toISOString() : null, scopes, networks };
  const { data } = await request(`${BASE}/me/keys`, { method: "POST", body });
  at("new-key").reset();
  show(data.key);
  await loadKeys();
}

async function rotateKey(key) {
  const text = `A new key with the same rights replaces “${key.name || key.prefix}”, which keeps working for 24 hours.`;
  if (!(await confirm({ title: "Rotate this key?", text, action: "Rotate", destroys: false }))) return;
  const { data } = await request(`${BASE}/me/keys/${key.id}/rotate`, { method: "POST", body: {} });
  show(data.key);
  await loadKeys();
}

async function revokeKey(key) {
  const text = `Whatever uses “${key.name || key.prefix}” stops working immediately. This cannot be undone.`;
  if (!(await confirm({ title: "Revoke this key?", text, action: "Revoke" }))) return;
  await request(`${BASE}/me/keys/${key.id}`, { method: "DELETE" });
  toast("The key no longer works.");
  await loadKeys();
}
