// What a model did besides answering: what it thought, and which tools it wants to be called.
import { el, icon } from "./dom.js";
import { duration } from "./errors.js";

const thoughtFor = (seconds) => (seconds === null ? "Thought" : `Thought for ${duration(Math.max(1, Math.round(seconds)))}`);

function fold(summary, text) {
  return el("details", { class: "thought" }, el("summary", {}, summary), el("div", { class: "thoughts", dir: "auto" }, text));
}

// What comes before the text of a message.
export function besides({ reasoning, toolCalls = [] }) {
  const thought = reasoning ? [fold(thoughtFor(reasoning.seconds), reasoning.text)] : [];
  return [...thought, ...toolCalls.map(callElement)];
}

function callElement({ name, arguments: text }) {
  return el(
    "section",
    { class: "call", "aria-label": `Tool call: ${name}` },
    el("h3", {}, icon("tool"), el("span", {}, "Tool call"), el("code", { dir: "auto" }, name)),
    text ? el("pre", { tabindex: "0", dir: "auto" }, pretty(text)) : null,
  );
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text; // cut off, or the input of a tool that takes plain text
  }
}

// What a model thinks, while it does: folded, with the seconds that it has taken.
export class LiveThought {
  constructor(body) {
    this.body = body;
    this.fold = null;
  }

  text(more) {
    if (!this.fold) {
      this.fold = fold("Thinking…", "");
      this.body.before(this.fold);
      this.began = Date.now();
      this.timer = setInterval(() => this.tick(), 1_000);
    }
    this.fold.lastChild.append(more);
  }

  tick() {
    if (this.fold.isConnected) this.tell(`Thinking… ${duration(this.seconds)}`);
    else this.end(); // another conversation was opened
  }

  // Text follows, or nothing more does.
  end() {
    if (!this.timer) return;
    clearInterval(this.timer);
    this.timer = 0;
    this.tell(thoughtFor(this.seconds));
  }

  get seconds() {
    return Math.round((Date.now() - this.began) / 1_000);
  }

  tell(text) {
    this.fold.firstChild.textContent = text;
  }
}
