"""Renders an answer while it is written: each block once it is finished, by what renders the whole answer.

The chat page asks for it. A renderer of its own would have to agree with this one in every corner of Markdown, colour
code as Pygments does and be trusted with HTML; so the page only shows the unfinished rest, lightly, and replaces it by
what it gets from here. No call needs what came before but a short state, so readers that join late or come back do the
same, and all calls together cost a few times what rendering the whole answer does.

All blocks but the last are finished: Markdown is parsed line by line, and no later line opens a block again. What may
change with what follows directly, without a blank line, counts as unfinished, too. Only a reference that is defined
after its use changes a finished block: the whole answer, rendered at its end, shows that.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore

from conversations.rendering import CLEANER, make_parser, top_level

logger = logging.getLogger(__name__)

MAX_REFERENCES = 20_000
"""Characters of the references that a state carries; later ones are left out."""
ENDED_BY_THEMSELVES = {"heading", "hr", "fence"}


@dataclass(frozen=True, slots=True)
class RenderState:
    """What blocks know of those before them: the characters of code that were coloured, and link references."""

    coloured: int
    references: dict[str, dict[str, str]]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the state that `str` gave, the first one for ''; raise ValueError for anything else."""
        if not text:
            return cls(0, {})
        try:
            coloured, references = json.loads(text)
            pairs = {label: {"href": str(href), "title": str(title)} for label, (href, title) in references.items()}
            return cls(max(0, int(coloured)), pairs)
        except (AttributeError, OverflowError, RecursionError, TypeError) as error:
            raise ValueError("not a state") from error

    def __str__(self) -> str:
        pairs: dict[str, tuple[str, str]] = {}
        size = 0
        for label, found in self.references.items():
            size += len(label) + len(found["href"]) + len(found["title"])
            if size <= MAX_REFERENCES:
                pairs[label] = (found["href"], found["title"])
        return json.dumps([self.coloured, pairs])


@dataclass(frozen=True, slots=True)
class FinishedBlocks:
    """The HTML of each block, the number of lines that they take, and the state to go on with."""

    html: list[str]
    lines: int
    state: RenderState


def render_finished(text: str, state: RenderState) -> FinishedBlocks:
    """Return the finished blocks at the beginning of `text`: whole lines of an answer that goes on."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    env: dict[str, Any] = {"goes_on": True, "coloured": state.coloured, "references": dict(state.references)}
    try:
        tokens = PARSER.parse(text, env)
        html = [CLEANER.clean(PARSER.renderer.render(block, PARSER.options, env)) for block in top_level(tokens)]
    except Exception as error:  # a bug in the parser: the whole answer is shown plain at its end
        logger.warning("A text could not be rendered as Markdown: %s", type(error).__name__)
        return FinishedBlocks([], 0, state)
    return FinishedBlocks(html, env["lines"], RenderState(env["coloured"], env["references"]))


def _cut(state: StateCore) -> None:
    """Drop what is not finished, and the references that it defines."""
    lines = state.src.split("\n")
    kept = line = 0
    blocks = top_level(state.tokens)
    for number, (before, after) in enumerate(pairwise(blocks), 1):
        (_, end), (start, _) = before[0].map or [0, 0], after[0].map or [0, 0]
        ended = before[0].type.removesuffix("_open") in ENDED_BY_THEMSELVES
        if not lines[start - 1].strip() or (ended and end == start):
            kept, line = number, start
    state.tokens = [token for block in blocks[:kept] for token in block]
    references = state.env["references"]
    for label in [label for label, found in references.items() if found.get("map", (0, 0))[1] > line]:
        del references[label]
    state.env["lines"] = line


def _parser() -> MarkdownIt:
    parser = make_parser()
    parser.core.ruler.after("block", "cut", _cut)
    return parser


PARSER = _parser()
