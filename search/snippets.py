"""The part of a message that shows why it was found, and what to highlight in it. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from search.analysis import Token, Word, words
from search.languages import language_of

CHARS = 240
LEAD = 60  # characters before the first highlight


@dataclass(frozen=True, slots=True)
class Snippet:
    text: str
    highlights: tuple[tuple[int, int], ...]


def matching_words(content: str, tokens: Collection[Token]) -> list[Word]:
    """Return the words of `content` that have a stem of `tokens`."""
    language = language_of(content)
    return words(content, language, {token.stem(language) for token in tokens})


def snippet(content: str, matches: list[Word], begins: int = 0) -> Snippet:
    """Return the part of `content` with most of its `matches`; without any, the part that starts at `begins`."""
    start = _best_start(matches, content) if matches else begins
    start = _at_word(content, start)
    end = min(len(content), start + CHARS)
    inside = [(word.start - start, word.end - start) for word in matches if start <= word.start and word.end <= end]
    return Snippet(content[start:end], tuple(_joined(inside)))


def _best_start(matches: list[Word], content: str) -> int:
    """Return where a snippet shows the most different words."""
    best, most = 0, 0
    for at, word in enumerate(matches):
        shown = {other.stem for other in matches[at : at + 40] if other.end <= word.start - LEAD + CHARS}
        if len(shown) > most:
            best, most = word.start, len(shown)
    if len(content) <= CHARS:
        return 0
    return max(0, min(best - LEAD, len(content) - CHARS))


def _at_word(content: str, start: int) -> int:
    """Move `start` to the beginning of a word, if one is near."""
    if start == 0:
        return 0
    for at in range(start, min(start + 20, len(content))):
        if content[at - 1].isspace():
            return at
    return start


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the spans with overlapping ones joined: neighbouring pairs of characters overlap."""
    joined: list[tuple[int, int]] = []
    for start, end in spans:
        if joined and start < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined
