"""Finds words in the long texts of files without analysing all of them. Pure.

To split and stem a text takes a second for a million characters. So a region of it is analysed only if the beginnings
of the words are in it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from search.analysis import Token
from search.normalising import fold, normalise

REGION_CHARS, OVERLAP_CHARS = 4_000, 400
MAX_REGIONS = 100  # of one text that are analysed for a phrase


def best_region(text: str, tokens: Collection[Token], language: str) -> int | None:
    """Return where the region begins that has most of the words, as far as their beginnings tell; None without any."""
    wanted = {_beginning(token, language) for token in tokens}
    best, most = None, 0
    for start, folded in _regions(text):
        count = sum(each in folded for each in wanted)
        if count > most:
            best, most = start, count
    return best


def regions_with(text: str, tokens: Collection[Token], language: str) -> Iterator[str]:
    """Yield the first MAX_REGIONS regions in which all of the words may be."""
    wanted = {_beginning(token, language) for token in tokens}
    found = 0
    for start, folded in _regions(text):
        if all(each in folded for each in wanted):
            yield region(text, start)
            found += 1
            if found == MAX_REGIONS:
                return


def region(text: str, start: int) -> str:
    return text[start : start + REGION_CHARS + OVERLAP_CHARS]


def _regions(text: str) -> Iterator[tuple[int, str]]:
    for start in range(0, max(len(text), 1), REGION_CHARS):
        yield start, fold(normalise(region(text, start)).text)


def _beginning(token: Token, language: str) -> str:
    """Return what all forms of a word begin with: its stem, whose last letter may differ (happy, happi)."""
    stem = token.stem(language).rpartition(":")[2]
    return stem[:-1] if len(stem) > 3 else stem
