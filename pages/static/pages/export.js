// A conversation as a file to keep: the branch that is shown, as Markdown. It is loaded when somebody wants it.
import { el, fullTime } from "./dom.js";
import * as operations from "./operations.js";

const NAMES = { user: "You", assistant: "Assistant" };

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

export async function save({ id, title }) {
  const rows = await rowsOf(id);
  const text = `${[`# ${title}`, ...rows.map(sectionOf)].join("\n\n")}\n`;
  const href = URL.createObjectURL(new Blob([text], { type: "text/markdown" }));
  el("a", { href, download: `${title.replace(/[\p{C}/\\:*?"<>|]/gu, " ").trim().slice(0, 80) || "conversation"}.md` }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60_000);
}
