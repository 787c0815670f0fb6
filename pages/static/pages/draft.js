// The end of an answer while no block of it is finished: what its Markdown is going to be, roughly, and line by line.
//
// It is replaced by what the service renders, block by block. Long texts are taken in steps, so that none takes long.
const STEP = 1_500;
const LONG_LINE = 2_000;
const LINES_OF_PART = 64;
const FENCE = /^\s*(`{3,}|~{3,})(.*)$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*)$/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const QUOTE = /^ {0,3}>\s?(.*)$/;
const ROW = /^\s*\|/;
const RULE = /^\s*\|?[\s:|-]*-[\s:|-]*$/;
// Mathematics, which stays as it is; code, strong, emphasised; a link. What is open may still be closed.
const INLINE = /\\\(.*?(?:\\\)|$)|(`+)([^`]+)(?:\1|$)|\*\*(?=\S)(.+?)(?:\*\*|$)|\*(?=[^\s*])([^*]+)\*|\[([^\]]+)\]\([^)\s]*\)?/g;

const make = (tag, name = "") => Object.assign(document.createElement(tag), { className: name });

function inline(text) {
  const nodes = [];
  let from = 0;
  for (const found of text.matchAll(INLINE)) {
    const [, , code, strong, emphasised, link] = found;
    const tag = code ? "code" : strong ? "strong" : emphasised ? "em" : link ? "span" : null;
    if (!tag) continue;
    const node = make(tag);
    node.textContent = code ?? strong ?? emphasised ?? link;
    nodes.push(text.slice(from, found.index), node);
    from = found.index + found[0].length;
  }
  nodes.push(text.slice(from));
  return nodes;
}

export class Draft {
  constructor() {
    // Only what is finished is read out.
    this.element = make("div", "draft");
    this.element.setAttribute("aria-live", "off");
    this.show("");
  }

  // Shows this text and nothing else.
  show(text) {
    this.element.replaceChildren();
    Object.assign(this, { waiting: text, dropped: 0, line: "", fence: null, block: null, before: null, made: [], holder: null, shown: 0 });
    this.draw();
  }

  // Takes away about so many characters at its beginning, which are shown as they will stay by now.
  drop(length) {
    this.dropped += length;
    for (let first = this.element.firstChild; first !== this.element.lastChild; first = this.element.firstChild) {
      if (first.textContent.length > this.dropped) return;
      this.dropped -= first.textContent.length;
      first.remove();
    }
  }

  add(more) {
    this.waiting += more;
    if (!this.step && this.waiting) this.step = document.hidden ? setTimeout(this.work) : requestAnimationFrame(this.work);
  }

  work = () => {
    this.step = 0;
    this.draw();
  };

  draw() {
    const text = this.line + this.waiting.slice(0, STEP);
    this.waiting = this.waiting.slice(STEP);
    const lines = text.split("\n");
    this.line = lines.pop();
    for (const line of lines) this.write(line, true);
    if (this.line) this.write(this.line, false);
    this.add("");
  }

  // Writes a line, or as much of it as there is: then it is taken back when there is more.
  write(line, isWhole) {
    if (this.fence) this.writeCode(line, isWhole);
    else this.writeText(line, isWhole);
    if (isWhole) Object.assign(this, { holder: null, shown: 0, made: [] });
  }

  openFence(line) {
    this.fence = FENCE.exec(line)?.[1] ?? null;
    if (this.fence) this.block = this.put(make("pre")).appendChild(make("code"));
  }

  // A part of a long code is a block of its own: the browser lays out the last one alone.
  writeCode(line, isWhole) {
    const fence = FENCE.exec(line);
    if (fence?.[1].startsWith(this.fence) && !fence[2].trim()) {
      if (isWhole) Object.assign(this, { fence: null, block: null });
      return;
    }
    // It may be the end.
    if (!isWhole && /^\s*[`~]+$/.test(line)) return;
    if (!this.holder) {
      const part = this.block.lastElementChild;
      const isFull = !part || part.childNodes.length >= LINES_OF_PART;
      const into = isFull ? this.block.appendChild(make("span", "part")) : part;
      this.holder = into.appendChild(document.createTextNode(isFull ? "" : "\n"));
    }
    this.holder.appendData(line.slice(this.shown));
    this.shown = line.length;
  }

  writeText(line, isWhole) {
    if (this.shown > LONG_LINE) {
      this.holder.append(line.slice(this.shown));
      this.shown = line.length;
      return;
    }
    for (const node of this.made) node.remove();
    if (this.made.length) this.block = this.before;
    this.before = this.block;
    this.made = [];
    this.shown = line.length;
    if (!line.trim()) this.block = isWhole ? null : this.block;
    else if (FENCE.test(line) || /^\s*[`~]{1,2}$/.test(line)) isWhole && this.openFence(line);
    else this.open(line);
  }

  open(line) {
    const heading = HEADING.exec(line);
    const item = ITEM.exec(line);
    const quote = QUOTE.exec(line);
    if (heading) {
      this.holder = this.put(make(`h${heading[1].length}`));
      this.holder.append(...inline(heading[2]));
    } else if (item) {
      this.block = this.put(make("div", `item depth-${Math.min(4, Math.floor(item[1].length / 2))}`));
      this.holder = make("span");
      this.holder.append(...inline(item[3]));
      this.block.append(/\d/.test(item[2]) ? `${item[2]} ` : "• ", this.holder);
    } else if (ROW.test(line)) {
      const row = this.within("table", make("tr"));
      const cells = line.trim().replace(/^\||\|$/g, "").split("|");
      for (const cell of RULE.test(line) ? [] : cells) row.appendChild(make("td")).append(...inline(cell));
    } else {
      this.within(quote ? "blockquote" : "p", make("span")).append(...inline(quote?.[1] ?? line));
    }
  }

  // Puts a line into the block that it goes on with, or into a new one.
  within(tag, holder) {
    const goesOn = this.block && (this.block.localName === tag || (tag === "p" && this.block.localName === "div"));
    if (!goesOn) this.block = this.put(make(tag));
    else if (tag !== "table") this.made.push(document.createTextNode("\n"));
    if (goesOn) this.made.push(holder);
    this.block.append(...(goesOn ? this.made : [holder]));
    this.holder = holder;
    return holder;
  }

  put(block) {
    this.block = null;
    this.made.push(block);
    return this.element.appendChild(block);
  }
}
