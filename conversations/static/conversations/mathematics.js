// Shows the mathematics of messages, which conversations/mathematics.py leaves as it was written. What cannot be shown
// stays so. KaTeX comes with the first formula, and what is copied is its source.
import { takeTurn } from "./turns.js";

const KATEX = new URL("../vendor/katex/", import.meta.url);
const LONGEST = 4_000;
// Nothing may load, act, or grow without end.
const OPTIONS = { throwOnError: true, strict: "ignore", trust: false, maxSize: 30, maxExpand: 500 };
const FORMULA = ".math[data-source]";

let library = null;
let work = Promise.resolve();

// Formulas, which are elements of the class math, are shown one after the other, with breaks in which the page does
// something else.
export function showMathematics(formulas) {
  const found = [...formulas].filter(({ dataset, textContent: { length } }) => !dataset.source && length <= LONGEST);
  if (!found.length) return;
  for (const element of found) element.dataset.source = element.textContent;
  work = work.then(() => showAll(found)).catch(() => found.forEach((element) => delete element.dataset.source));
}

async function showAll(elements) {
  const katex = await (library ??= load().catch((error) => ((library = null), Promise.reject(error))));
  for (const element of elements) {
    show(katex, element);
    await takeTurn(element);
  }
}

async function load() {
  const sheet = Object.assign(document.createElement("link"), { rel: "stylesheet", href: new URL("katex.min.css", KATEX).href });
  const styled = new Promise((done, failed) => Object.assign(sheet, { onload: done, onerror: failed }));
  document.head.append(sheet);
  await Promise.all([styled, import(new URL("katex.min.js", KATEX).href)]);
  return globalThis.katex;
}

function show(katex, element) {
  const displayMode = element.classList.contains("display");
  try {
    const tree = katex.__renderToDomTree(element.dataset.source.slice(2, -2), { ...OPTIONS, displayMode });
    withoutStyle(tree);
    element.replaceChildren(tree.toNode());
  } catch {
    return;
  }
  // It scrolls where it is too wide.
  if (displayMode) element.tabIndex = 0;
}

// The policy of our pages forbids attributes with styles, which KaTeX gives to some of what is only read out.
function withoutStyle(node) {
  delete node.attributes?.style;
  node.children?.forEach(withoutStyle);
}

document.addEventListener("copy", (event) => {
  const selection = getSelection();
  if (selection.isCollapsed) return;
  const range = selection.getRangeAt(0).cloneRange();
  const formulaOf = (node) => (node.nodeType === Node.ELEMENT_NODE ? node : node.parentElement)?.closest(FORMULA);
  const [first, last] = [formulaOf(range.startContainer), formulaOf(range.endContainer)];
  if (first) range.setStartBefore(first);
  if (last) range.setEndAfter(last);
  const copied = document.createElement("div");
  copied.append(range.cloneContents());
  const formulas = copied.querySelectorAll(FORMULA);
  if (!formulas.length) return;
  for (const formula of formulas) formula.replaceChildren(formula.dataset.source);
  // Only what is laid out has lines.
  copied.style.cssText = "position: fixed; left: -999rem; width: 60rem";
  document.body.append(copied);
  event.clipboardData.setData("text/plain", copied.innerText);
  copied.remove();
  event.clipboardData.setData("text/html", copied.innerHTML);
  event.preventDefault();
});
