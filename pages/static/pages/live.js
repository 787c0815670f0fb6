// An answer while it is written: escaped text with its line breaks, and code between fences as code.
const FENCE = /^ {0,3}(`{3,}|~{3,})(.*)$/;

export class LiveText {
  constructor(target) {
    this.target = target;
    this.replace("");
  }

  replace(all) {
    this.target.replaceChildren();
    this.fence = null;
    this.line = "";
    this.open("p");
    this.text(all);
  }

  text(more) {
    const lines = (this.line + more).split("\n");
    this.line = lines.pop();
    for (const line of lines) this.finish(line);
    // What may become a fence is held back until its line is whole.
    this.tail.data = /^ {0,3}[`~]/.test(this.line) ? "" : this.line;
  }

  finish(line) {
    this.tail.data = "";
    const fence = FENCE.exec(line);
    if (!this.fence && fence) {
      this.fence = fence[1];
      this.open("pre");
    } else if (this.fence && fence && fence[1].startsWith(this.fence) && !fence[2].trim()) {
      this.fence = null;
      this.open("p");
    } else if (!this.fence && line.trim() === "") {
      if (this.done.data) this.open("p");
    } else {
      this.done.appendData(`${line}\n`);
    }
  }

  open(tag) {
    const block = document.createElement(tag);
    const inner = tag === "pre" ? block.appendChild(document.createElement("code")) : block;
    this.done = inner.appendChild(document.createTextNode(""));
    this.tail = inner.appendChild(document.createTextNode(""));
    this.target.append(block);
  }
}
