// An answer while it is written. What is finished is shown as a reload shows it, and stays: the service renders it, block
// by block (conversations/finished_blocks.py says why). The rest is a draft.
import { nextFrame, takeTurn } from "../conversations/turns.js";
import { Draft } from "./draft.js";
import { dressed } from "./message.js";
import { finishedBlocks } from "./operations.js";

const EVERY_MS = 250;
const RETRY_MS = 2_000;
const MOST_AT_ONCE = 50_000;
const FENCE = /^ {0,3}(`{3,}|~{3,})(.*)$/;
// What can go on with a list, a quotation or code that is indented.
const GOES_ON = /^(?:[\s>]|[*+-](?:\s|$)|\d{1,9}[.)](?:\s|$))/;
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

function elementsOf(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return [...template.content.children];
}

// The place after so many lines.
function afterLines(text, lines) {
  const breaks = /\r\n?|\n/g;
  for (let line = 0; line < lines; line += 1) breaks.exec(text);
  return breaks.lastIndex;
}

export class LiveAnswer {
  constructor(body) {
    this.body = body;
    this.isOver = false;
    this.isAsking = false;
    this.begin("");
  }

  begin(text) {
    this.draft = new Draft();
    this.body.replaceChildren(this.draft.element);
    Object.assign(this, { blocks: [], done: "", rest: "", state: "", line: "", fence: null, afterBlank: true });
    Object.assign(this, { isNew: false, isSure: false, inVain: 0, received: 0, sent: 0 });
    this.text(text);
  }

  text(more) {
    this.rest += more;
    this.received += more.length;
    this.draft.add(more);
    const lines = (this.line + more).split("\n");
    this.line = lines.pop();
    for (const line of lines) this.notice(line);
    this.ask();
  }

  // The whole text, from a stream that could not go on where it was.
  replace(all) {
    if (!all.startsWith(this.done)) return this.begin(all);
    this.rest = all.slice(this.done.length);
    this.draft.show(this.rest);
    Object.assign(this, { line: "", fence: null, isNew: true, isSure: true });
    return this.ask();
  }

  // Looks for signs that a block is finished: something new, or surely a new block.
  notice(line) {
    const fence = FENCE.exec(line);
    if (this.fence) {
      if (fence?.[1].startsWith(this.fence) && !fence[2].trim()) Object.assign(this, { fence: null, afterBlank: true });
      return;
    }
    if (!line.trim()) {
      this.afterBlank = true;
      return;
    }
    this.isNew = true;
    this.isSure ||= this.afterBlank && !GOES_ON.test(line);
    this.afterBlank = false;
    if (fence) this.fence = fence[1];
  }

  // All that is sent is a few times what came: what was sent in vain is sent again only once it has grown by half.
  isWorthIt() {
    if (this.isSure && this.sent <= 8 * this.received + 20_000) return true;
    return this.isNew && this.rest.length >= 1.5 * this.inVain;
  }

  async ask() {
    if (this.isAsking) return;
    this.isAsking = true;
    while (!this.isOver && this.body.isConnected && this.isWorthIt()) await sleep((await this.takeFinished()) ? EVERY_MS : RETRY_MS);
    this.isAsking = false;
  }

  async takeFinished() {
    const { draft, state } = this;
    const most = this.rest.slice(0, MOST_AT_ONCE);
    const text = most.slice(0, most.lastIndexOf("\n") + 1);
    Object.assign(this, { isNew: this.rest.length > MOST_AT_ONCE, isSure: false });
    this.sent += text.length;
    let found;
    try {
      found = await finishedBlocks(text, state);
    } catch {
      this.isNew = true;
      return false;
    }
    if (this.isOver || draft !== this.draft) return true;
    this.inVain = found.lines ? 0 : text.length;
    if (!found.lines) return true;
    const end = afterLines(text, found.lines);
    this.state = found.state;
    this.done += this.rest.slice(0, end);
    this.rest = this.rest.slice(end);
    const elements = found.html.flatMap(elementsOf);
    if (!elements.length) draft.show(this.rest);
    await nextFrame();
    for (const [number, element] of elements.entries()) {
      if (this.isOver || draft !== this.draft) return true;
      const shown = this.put(this.blocks.length, element);
      // What is shown stays about as high as it is: nobody who reads it is moved.
      if (number < elements.length - 1) draft.drop(shown.textContent.length);
      else draft.show(this.rest);
      await takeTurn(shown);
    }
    return true;
  }

  put(place, element) {
    const key = element.outerHTML;
    const shown = dressed(element);
    if (this.blocks[place]) this.blocks[place].shown.replaceWith(shown);
    else this.body.insertBefore(shown, this.draft.element);
    this.blocks[place] = { key, shown };
    return shown;
  }

  // Shows the whole answer as it was rendered in the end; what is as it will be is left alone.
  async finish(html) {
    this.isOver = true;
    const elements = elementsOf(html);
    const known = this.blocks.length;
    for (const [place, element] of elements.entries()) {
      const shown = this.blocks[place]?.key === element.outerHTML ? null : this.put(place, element);
      if (place === elements.length - 1) this.draft.element.remove();
      else if (shown && place >= known) this.draft.drop(shown.textContent.length);
      await takeTurn(shown);
    }
    for (const { shown } of this.blocks.splice(elements.length)) shown.remove();
    this.draft.element.remove();
  }
}
