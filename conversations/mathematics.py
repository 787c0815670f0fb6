r"""TeX in Markdown: `\( … \)` and `\[ … \]`, which Markdown takes for escaped brackets, and `$$ … $$`.

It is left as it was written, in `<span class="math inline">` or `"math display"` as Pandoc has it, delimiters included:
what cannot show it shows its source. A single dollar is money. Two are, too, and escaped brackets quote, unless they
stand on lines of their own or have something between them that only mathematics has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from django.utils.html import escape
from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

# The end of a formula, from behind its beginning on; a backslash that is itself escaped escapes nothing.
CLOSED = {
    r"\(": re.compile(r"((?:[^\\]|\\[^()])+)\\\)", re.DOTALL),
    r"\[": re.compile(r"((?:[^\\]|\\[^\[\]])+)\\\]", re.DOTALL),
    "$$": re.compile(r"((?:[^\\$]|\\.)+)\$\$(?!\$)", re.DOTALL),
}
FORMULA = re.compile(r"[\\^_=+{}<>]")
MAX_INLINE = 2_000
INTERRUPTS = ["paragraph", "reference", "blockquote", "list"]


def add_mathematics(parser: MarkdownIt) -> None:
    parser.inline.ruler.before("escape", "math", _inline)
    parser.block.ruler.before("fence", "math", _block, {"alt": INTERRUPTS})
    parser.add_render_rule("math_inline", _render)
    parser.add_render_rule("math_block", _render_block)


def _inline(state: StateInline, silent: bool) -> bool:
    opener = state.src[state.pos : state.pos + 2]
    closed = CLOSED.get(opener)
    if closed is None or (opener == "$$" and state.src[state.pos - 1 : state.pos] == "$"):
        return False
    found = closed.match(state.src, state.pos + 2, min(state.posMax, state.pos + MAX_INLINE))
    if found is None or not found[1].strip() or (opener != r"\(" and not FORMULA.search(found[1])):
        return False
    if not silent:
        token = state.push("math_inline", "", 0)
        token.content, token.markup = state.src[state.pos : found.end()], opener
    state.pos = found.end()
    return True


def _block(state: StateBlock, begin: int, end: int, silent: bool) -> bool:
    opener = _line(state, begin)[:2]
    if opener not in (r"\[", "$$") or _line(state, begin).startswith("$$$") or state.is_code_block(begin):
        return False
    # Where none ended before, none that begins before there does: many beginnings cost no more than one.
    unclosed = state.env.setdefault("unclosed", {})
    if begin < unclosed.get(opener, 0):
        return False
    last = _last_line(state, opener, begin, end)
    if last is None:
        return False
    if not silent:
        state.line = last + 1
        token = state.push("math_block", "", 0)
        token.map, token.markup, token.block = [begin, state.line], opener, True
        token.content = state.getLines(begin, state.line, state.blkIndent, False).strip()
    return True


def _last_line(state: StateBlock, opener: str, begin: int, end: int) -> int | None:
    """Return the line that a formula ends with; None if it does not end before a blank line, as TeX's do."""
    closer = opener.replace("[", "]")
    for line in range(begin, end):
        text = _line(state, line)[2 if line == begin else 0 :].rstrip()
        if line > begin and (not text or state.sCount[line] < state.blkIndent):
            state.env["unclosed"][opener] = line
            return None
        at = text.find(closer)
        if at >= 0:
            if at == len(text) - 2 and (line > begin or at > 0):
                return line
            state.env["unclosed"][opener] = line
            return None
    # A text that goes on may bring the end yet.
    if state.env.get("goes_on") and end >= len(state.bMarks) - 1:
        return end - 1
    state.env["unclosed"][opener] = end
    return None


def _line(state: StateBlock, line: int) -> str:
    return state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]]


def _render(renderer: Any, tokens: Sequence[Token], at: int, options: Any, env: Mapping[str, Any]) -> str:
    kind = "inline" if tokens[at].markup == r"\(" else "display"
    return f'<span class="math {kind}">{escape(tokens[at].content)}</span>'


def _render_block(renderer: Any, tokens: Sequence[Token], at: int, options: Any, env: Mapping[str, Any]) -> str:
    return f"<p>{_render(renderer, tokens, at, options, env)}</p>\n"
