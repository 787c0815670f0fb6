"""The part of a message that shows why it was found, and what to highlight in it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from conversations.message_files import FileSays
from search.analysis import Token, Word, words
from search.file_texts import best_region, region
from search.languages import language_of

CHARS = 240
LEAD = 60  # characters before the first highlight
NAME_CHARS = 80  # of a file


@dataclass(frozen=True, slots=True)
class Snippet:
    text: str
    highlights: tuple[tuple[int, int], ...]


def matching_words(content: str, tokens: Collection[Token]) -> list[Word]:
    """Return the words of `content` that have a stem of `tokens`."""
    return _matching(content, tokens, language_of(content))


def snippet(content: str, matches: list[Word], begins: int = 0) -> Snippet:
    """Return the part of `content` with most of its `matches`; without any, the part that starts at `begins`."""
    start = _best_start(matches, content) if matches else begins
    start = _at_word(content, start)
    end = min(len(content), start + CHARS)
    inside = [(word.start - start, word.end - start) for word in matches if start <= word.start and word.end <= end]
    return Snippet(content[start:end], tuple(_joined(inside)))


def passage(content: str, snippet: str, chars: int) -> str:
    """Return the text of a message, of a long one the part around its snippet; or the snippet of a file with it."""
    snippet = snippet.strip("… \n")
    at = content.find(snippet)
    if at < 0:
        return f"{content[: chars - len(snippet)]}\n{snippet}"
    if len(content) <= chars:
        return content
    start = max(0, min(at - (chars - len(snippet)) // 2, len(content) - chars))
    return f"{'…' if start else ''}{content[start : start + chars]}…"


def of_files(files: Sequence[FileSays], tokens: Collection[Token], begins: int, *, more_than: int) -> Snippet | None:
    """Return the part of one of `files` that has most words, if they are `more_than` those of the message.

    Where there are none in either, the part that starts at `begins`, counted through all of the texts, if it is in one.
    """
    best, most = None, more_than
    for file in files:
        language = language_of(file.text)
        start = best_region(file.text, tokens, language)
        if start is not None:
            part = region(file.text, start)
            matches = _matching(part, tokens, language)
            if (count := len({word.stem for word in matches})) > most:
                best, most = _named(file.name, snippet(part, matches)), count
    if most:
        return best
    for file in files:
        if 0 <= begins < len(file.text):
            return _named(file.name, snippet(file.text, [], begins))
        begins -= len(file.text)
    return None


def _named(name: str, found: Snippet) -> Snippet:
    """Put the name of the file before what it says."""
    lead = f"{name[:NAME_CHARS]}: "
    return Snippet(lead + found.text, tuple((start + len(lead), end + len(lead)) for start, end in found.highlights))


def _matching(text: str, tokens: Collection[Token], language: str) -> list[Word]:
    return words(text, language, {token.stem(language) for token in tokens})


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
