// The list of conversations: what is pinned, then newest first, by day; each can be renamed, pinned, tagged, shared, archived
// and deleted. A tag leaves those that have it.
import { at, el, groupOf, iconButton } from "./dom.js";
import { ask, confirm } from "./dialogs.js";
import * as operations from "./operations.js";
import { showTags } from "./tags.js";
import { guarded, toast } from "./toasts.js";

const list = { rows: [], more: null, archived: false, tag: null, open: null };
let on = { gone() {}, renamed() {}, pinned() {}, instructed() {}, told() {}, browsed() {} };
let asked = 0;

export function startList(handlers) {
  on = handlers;
  at("more").addEventListener("click", guarded(() => load(list.more)));
  at("archived").addEventListener("click", () => browse(true));
  at("all").addEventListener("click", () => browse(false));
  at("menu").addEventListener("click", (event) => {
    const act = event.target.closest("button")?.dataset.act;
    if (!act) return;
    at("menu").hidePopover();
    guarded(acts[act])(menuRow);
  });
}

export const refresh = () => load(null);

// Shows what is archived, or what is not. What was found is not in the way.
async function browse(archived) {
  list.archived = archived;
  on.browsed();
  await guarded(refresh)();
  at(archived ? "all" : "archived").focus();
}

async function choose(tag) {
  list.tag = tag;
  await guarded(refresh)();
}

async function load(after) {
  const mine = (asked += 1);
  const { tag } = list;
  const found = await operations.conversations({ archived: list.archived, tag, after });
  if (mine !== asked) return;
  if (!after) {
    // The last conversation with it may have lost it.
    if (tag !== null && !found.tags.includes(tag)) return choose(null);
    showTags(found.tags, tag, choose);
  }
  const rows = after ? [...list.rows, ...found.rows] : [...found.pinned, ...found.rows];
  list.rows = [...new Map([...rows.filter((row) => row.pinned), ...rows].map((row) => [row.id, row])).values()];
  list.more = found.page.hasNextPage ? found.page.endCursor : null;
  render();
}

export function markOpen(id) {
  list.open = id;
  for (const link of at("conversations").querySelectorAll("a")) mark(link);
}

function mark(link) {
  if (link.dataset.id === list.open) link.setAttribute("aria-current", "page");
  else link.removeAttribute("aria-current");
}

const titleOf = (row) => row.title || "Untitled";

function render() {
  const groups = new Map();
  for (const row of list.rows) {
    const name = row.pinned ? "Pinned" : groupOf(row.updatedAt);
    groups.set(name, [...(groups.get(name) ?? []), row]);
  }
  const sections = [...groups].map(([name, rows]) =>
    el("section", {}, el("h3", {}, name), el("ul", {}, ...rows.map(itemOf))),
  );
  const none = list.archived ? "Nothing is archived." : "No conversations yet.";
  const nothing = list.tag === null ? none : "No conversation here has this tag.";
  at("conversations").replaceChildren(...(sections.length ? sections : [el("p", { class: "muted" }, nothing)]));
  at("more").hidden = !list.more;
  at("archived").hidden = list.archived;
  at("all").hidden = !list.archived;
  at("list-title").textContent = list.archived ? "Archived" : "Conversations";
  at("list-title").classList.toggle("sr-only", !list.archived);
}

function itemOf(row) {
  const link = el("a", { href: `#${row.id}`, "data-id": row.id, dir: "auto", title: titleOf(row) }, titleOf(row));
  mark(link);
  const busy = row.activeRun ? el("span", { class: "busy", role: "img", "aria-label": "An answer is being written" }) : null;
  const more = iconButton("more", `Actions for ${titleOf(row)}`, (event) => openMenu(row, event.currentTarget));
  return el("li", {}, link, busy, more);
}

let menuRow = null;

export function openMenu(row, button) {
  menuRow = row;
  const menu = at("menu");
  menu.querySelector('[data-act="pin"] span').textContent = row.pinned ? "Unpin" : "Pin";
  menu.querySelector('[data-act="archive"] span').textContent = row.archived ? "Unarchive" : "Archive";
  menu.showPopover();
  const box = button.getBoundingClientRect();
  menu.style.left = `${Math.max(8, Math.min(box.left, innerWidth - menu.offsetWidth - 8))}px`;
  menu.style.top = `${Math.min(box.bottom + 4, innerHeight - menu.offsetHeight - 8)}px`;
  menu.querySelector("button").focus();
}

export const acts = {
  async rename(row) {
    const title = await ask({ title: "Rename conversation", label: "Title", value: row.title, action: "Rename" });
    if (title === null || title === row.title) return;
    await operations.rename(row.id, title.trim());
    on.renamed(row.id, title.trim());
    await refresh();
  },
  async pin(row) {
    const pinned = !row.pinned;
    await operations.pin(row.id, pinned);
    on.pinned(row.id, pinned);
    await refresh();
    toast(pinned ? "Pinned." : "Unpinned.");
  },
  // Also those of a new chat, which has no id yet.
  async instructions({ id, generation }) {
    const { editInstructions } = await import("./instructions.js");
    await editInstructions(id ? await operations.generationOf(id) : generation, async (given) => {
      if (id) await operations.setGeneration(id, given);
      on.instructed(id, given);
    });
    if (document.activeElement === document.body) at("input").focus(); // what opened it is not shown any more
  },
  async tags(row) {
    const { editTags } = await import("./tag_editor.js");
    const { mine, all } = await operations.tagsOf(row.id);
    const save = (names) => operations.setTags(row.id, names);
    if (!(await editTags(mine, all, save))) return;
    on.told(row.id);
    await refresh();
    toast("Saved.");
  },
  async archive(row) {
    await operations.archive(row.id, !row.archived);
    on.told(row.id);
    await refresh();
    const undo = async () => (await operations.archive(row.id, row.archived), on.told(row.id), refresh());
    toast(row.archived ? "Unarchived." : "Archived.", { action: "Undo", act: guarded(undo) });
  },
  // All that is shown of it by now.
  async share({ id, title }) {
    const last = (await operations.conversation(id))?.rows.at(-1);
    if (!last) return void toast("There is nothing to share yet.");
    const { shareUpTo } = await import("./shared_links.js");
    await shareUpTo({ conversationId: id, messageId: last.id, title });
  },
  async export(row) {
    const { save } = await import("./export.js");
    await save({ id: row.id, title: titleOf(row) });
  },
  async delete(row) {
    const text = `“${titleOf(row)}” and all its messages will be deleted permanently.`;
    if (!(await confirm({ title: "Delete conversation?", text, action: "Delete" }))) return;
    await operations.remove(row.id);
    on.gone(row.id);
    await refresh();
    toast("Deleted.");
  },
};

// The id of the conversation above (-1) or below (1) the one that is open.
export function neighbour(step) {
  const place = list.rows.findIndex((row) => row.id === list.open);
  return list.rows[place < 0 ? 0 : place + step]?.id;
}
