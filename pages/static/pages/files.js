// The pictures and files of messages: asked for once the messages are shown, for all that were made at the same time.
import { ROOT } from "./api.js";
import { el, icon } from "./dom.js";
import { filesOf } from "./operations.js";

const AT_ONCE = 50;
let waiting = new Map();

export function showFilesOf(article, id) {
  if (!waiting.size) queueMicrotask(showAll);
  waiting.set(id, article);
}

async function showAll() {
  const articles = waiting;
  waiting = new Map();
  const ids = [...articles.keys()];
  for (let from = 0; from < ids.length; from += AT_ONCE) {
    try {
      const found = await filesOf(ids.slice(from, from + AT_ONCE));
      for (const [id, files] of Object.entries(found)) {
        articles.get(id).body.before(el("ul", { class: "files", "aria-label": "Pictures and files" }, ...files.map(itemOf)));
      }
    } catch {
      // The messages can be read without them, and the next time they are shown they are asked for again.
      return;
    }
  }
}

function itemOf(file) {
  const details = file.text_details ? el("small", { class: "muted" }, file.text_details) : null;
  const item = el("li", {}, file.has_thumbnail ? pictureOf(file) : chipOf(file), details);
  // It is broken, or too large: then it is a file like others.
  item.querySelector("img")?.addEventListener("error", () => item.replaceChildren(chipOf(file)));
  return item;
}

function pictureOf(file) {
  const src = `${addressOf(file)}/thumbnail`;
  const image = el("img", { src, alt: file.name, title: `${file.name}, ${file.facts}`, loading: "lazy" });
  return el("a", { class: "picture", href: addressOf(file), target: "_blank", rel: "noopener" }, image);
}

const addressOf = (file) => `${ROOT}/files/${file.id}`;

function chipOf(file) {
  const said = [el("span", { class: "file-name", dir: "auto" }, file.name), el("span", { class: "muted" }, file.facts)];
  if (file.id) return el("a", { class: "chip", href: addressOf(file), download: true }, icon("file"), ...said);
  // At another site: to be opened by whoever wants to, never loaded by this page.
  if (file.address) {
    const rel = "noopener noreferrer nofollow";
    return el("a", { class: "chip", href: file.address, target: "_blank", rel }, icon("link"), ...said);
  }
  return el("span", { class: "chip gone" }, icon("file"), ...said);
}
