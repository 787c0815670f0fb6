// A conversation as a file to keep. It is loaded when somebody wants it.
import { fetchResponse } from "./api.js";
import { choose } from "./dialogs.js";
import { el, fullTime } from "./dom.js";
import { pageUser } from "./identity.js";
import * as operations from "./operations.js";
import { toast } from "./toasts.js";

const NAMES = { user: "You", assistant: "Assistant" };
// What the service writes itself (conversations/exporters.py).
const ENDINGS = { jsonl: "jsonl", chatgpt: "json" };

async function rowsOf(id) {
  const found = await operations.conversation(id);
  const rows = found?.rows ?? [];
  for (let more = found?.older; more; ) {
    const before = await operations.more(id, { before: rows[0].id });
    rows.unshift(...before.rows);
    more = before.more;
  }
  return rows;
}

function sectionOf({ role, model, createdAt, files, content, toolCalls }) {
  const head = [NAMES[role] ?? role, model, fullTime(createdAt)].filter(Boolean).join(" · ");
  const attached = files.map(({ name }) => `[${name ?? "a file that is gone"}]`);
  const calls = toolCalls.map(({ name, arguments: text }) => `Tool call: \`${name}\`\n\n\`\`\`json\n${text}\n\`\`\``);
  return [`## ${head}`, ...attached, content, ...calls].filter(Boolean).join("\n\n");
}

async function markdownOf({ id, title }) {
  const rows = await rowsOf(id);
  return new Blob([`${[`# ${title}`, ...rows.map(sectionOf)].join("\n\n")}\n`], { type: "text/markdown" });
}

// The other formats are of the API that admits no guests.
const askFormat = () =>
  choose({
    title: "Save this conversation",
    text: "Markdown is for reading and JSONL for other programs: both have the branch that is shown. JSON, as in ChatGPT's exports, has every branch and can be imported again.",
    actions: [
      { value: "markdown", label: "Markdown" },
      { value: "jsonl", label: "JSONL" },
      { value: "chatgpt", label: "JSON" },
    ],
    signal: new AbortController().signal,
  });

export async function save({ id, title }) {
  const format = pageUser().isGuest ? "markdown" : await askFormat();
  if (!format) return;
  let content = null;
  if (format === "markdown") content = await markdownOf({ id, title });
  else {
    const response = await fetchResponse(`/v1/chat/conversations/${id}/export?format=${format}`);
    if (response.status === 401) return;
    if (!response.ok) return void toast("The conversation could not be saved. Try again later.");
    content = await response.blob();
  }
  const href = URL.createObjectURL(content);
  const name = title.replace(/[\p{C}/\\:*?"<>|]/gu, " ").trim().slice(0, 80) || "conversation";
  el("a", { href, download: `${name}.${ENDINGS[format] ?? "md"}` }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60_000);
}
