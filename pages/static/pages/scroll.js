// Scrolling a conversation: stays at its end while one is there, loads what is beyond its edges, keeps its place.
import { at } from "./dom.js";

const NEAR = 48;
let sticking = true;
let last = 0;
let edges = { older: () => {}, newer: () => {} };

const scroller = () => at("scroller");
const gap = () => scroller().scrollHeight - scroller().scrollTop - scroller().clientHeight;

export function startScrolling(handlers) {
  edges = handlers;
  scroller().addEventListener(
    "scroll",
    () => {
      // Growth moves nothing: only somebody who scrolls up leaves the end, be it by a short step.
      if (scroller().scrollTop < last - 2) sticking = gap() <= 2;
      else if (scroller().scrollTop > last && gap() < NEAR) sticking = true;
      last = scroller().scrollTop;
      at("to-end").hidden = sticking || gap() < 300;
    },
    { passive: true },
  );
  // Growth would undo the first steps of what scrolls smoothly.
  scroller().addEventListener("wheel", ({ deltaY }) => deltaY < 0 && scroller().scrollTop && (sticking = false), { passive: true });
  new ResizeObserver(() => sticking && toEnd()).observe(at("messages"));
  new ResizeObserver(() => sticking && toEnd()).observe(scroller());
  const watch = new IntersectionObserver(
    (seen) => {
      for (const { isIntersecting, target } of seen) if (isIntersecting) edges[target.dataset.edge]();
    },
    { root: scroller(), rootMargin: "600px 0px" },
  );
  watch.observe(at("older"));
  watch.observe(at("newer"));
  at("to-end").addEventListener("click", () => edges.end());
}

export function toEnd() {
  sticking = true;
  scroller().scrollTop = scroller().scrollHeight;
  last = scroller().scrollTop; // somebody may scroll up before its event
  at("to-end").hidden = true;
}

// The message that somebody who scrolled up reads, and where it is; null at the end.
export function placeRead() {
  const { top } = scroller().getBoundingClientRect();
  const article = sticking ? null : [...at("messages").children].find((each) => each.getBoundingClientRect().bottom > top);
  return article ? { messageId: article.id.slice(2), top: article.getBoundingClientRect().top } : null;
}

// What `work` adds or takes away above must not move what is looked at.
export function keepingPlace(work) {
  sticking = false;
  const box = scroller();
  const from = box.scrollHeight - box.scrollTop;
  work();
  box.scrollTop = box.scrollHeight - from;
}

export function showMessage(article, top = null) {
  sticking = false;
  if (top === null) {
    article.scrollIntoView({ block: "center" });
    // Sizes are estimates until they were seen: once more, when those around it are known.
    requestAnimationFrame(() => article.scrollIntoView({ block: "center" }));
  } else {
    // Its size is no estimate: what is looked at may be far below its top.
    article.style.contentVisibility = "visible";
    scroller().scrollTop += article.getBoundingClientRect().top - top;
  }
}
