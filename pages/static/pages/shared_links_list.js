// My shared links: to which conversation, until when; to copy and to revoke each.
import { ROOT, request } from "./api.js";
import { confirm } from "./dialogs.js";
import { at, el } from "./dom.js";
import { copy } from "./message.js";
import { BASE, cell, pages, when } from "./tables.js";
import { guarded, toast } from "./toasts.js";

const load = pages("shared-links", "shared-links", linkRow, 4, "Nothing is shared.");

// Without any, and without a way to make some, there is nothing to say.
export async function loadSharedLinks() {
  await load();
  at("shared").hidden = !("mayShare" in at("shared").dataset) && !at("shared-links").querySelector("button");
}

function linkRow(link) {
  const name = link.title || "without a title";
  const act = (label, does, kind = "link") => el("button", { type: "button", class: kind, "aria-label": `${label} the link to ${name}`, onclick: guarded(() => does(link)) }, label);
  const place = `${ROOT}/#${link.conversation_id}/${link.message_id}`;
  return el(
    "tr",
    {},
    el("td", { class: "brief", dir: "auto" }, el("a", { href: place, title: "The last message that is shown" }, name)),
    cell(when(link.created_at), "brief"),
    cell(when(link.expires_at), "brief"),
    el("td", {}, act("Copy", () => copy(link.url)), " ", act("Revoke", revoke, "link danger")),
  );
}

async function revoke(link) {
  const text = `Nobody will be able to read “${link.title || "this conversation"}” by this link any more. This cannot be undone.`;
  if (!(await confirm({ title: "Revoke this link?", text, action: "Revoke" }))) return;
  await request(`${BASE}/shared-links/${link.id}`, { method: "DELETE" });
  toast("The link no longer works.");
  await loadSharedLinks();
}
