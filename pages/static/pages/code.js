// What code in a message gets: its language, and buttons to wrap its lines, to save and to copy it.
import { el, iconButton } from "./dom.js";

const ENDINGS = {
  bash: "sh", "c++": "cpp", haskell: "hs", javascript: "js", kotlin: "kt", markdown: "md", perl: "pl", powershell: "ps1",
  python: "py", ruby: "rb", rust: "rs", shell: "sh", typescript: "ts", yaml: "yml", zsh: "sh",
};

export function addTools(pre, copy) {
  const language = /language-(\S+)/.exec(pre.firstElementChild?.className)?.[1] ?? "";
  const wrapper = el("div", { class: "code" });
  const wrap = iconButton("wrap", "Wrap lines", () => wrap.setAttribute("aria-pressed", String(wrapper.classList.toggle("wrapped"))), {
    "aria-pressed": "false",
  });
  pre.replaceWith(wrapper);
  pre.tabIndex = 0;
  wrapper.append(
    el(
      "div",
      { class: "code-tools" },
      el("span", { class: "language" }, language),
      wrap,
      iconButton("save", "Download code", () => save(pre.textContent, language)),
      iconButton("copy", "Copy code", () => copy(pre.textContent)),
    ),
    pre,
  );
}

function save(text, language) {
  const ending = ENDINGS[language] ?? (/^[a-z0-9]{1,8}$/.test(language) ? language : "txt");
  const href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  el("a", { href, download: `code.${ending}` }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60_000);
}
