"""Normalises text: one spelling for what Unicode can write in several, and the place in the original of each. Pure."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

# Default-ignorable characters (soft hyphens, joiners, variation selectors, tags), tatweel, and emoji's skin tones.
UNSEEN = (
    "\u00ad\u034f\u0640\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200d-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001f3fb-\U0001f3ff\U000e0000-\U000e0fff"
)
# The non-joiner too, but not after an Arabic letter: in Persian it ends a part of a word.
IGNORED = re.compile(f"[{UNSEEN}]|(?<![\u0600-\u06ff])\u200c")
DIGIT = re.compile(r"[^\D0-9]")  # a decimal digit of another script
# Signs that would become letters of the word before them.
SEPARATING = str.maketrans("™℠", "  ")


def _ranges(categories: str, last: int = 0x1FFFF) -> str:
    """Return the characters of these general categories as the inside of a character class."""
    found: list[list[int]] = []
    for code in range(0x300, min(last, sys.maxunicode) + 1):
        if unicodedata.category(chr(code)) in categories:
            if found and found[-1][1] == code - 1:
                found[-1][1] = code
            else:
                found.append([code, code])
    return "".join(f"{chr(first)}-{chr(end)}" for first, end in found)


MARKS = _ranges("Mn Mc Me")
# What goes with the character before it: marks, vowels and finals of Hangul, half-width voiced marks, what is unseen.
COMPOSED = f"{UNSEEN}{MARKS}\u1160-\u11ff\u314f-\u3163\ud7b0-\ud7ff\uff9e\uff9f\uffc2-\uffdc"
# Bounded: to sort many marks of one character takes the square of their number.
CLUSTER = re.compile(rf"[\0-\x7f]+(?![{COMPOSED}])|.[{COMPOSED}]{{0,30}}", re.DOTALL)
# Points and accents of Latin, Greek, Cyrillic, Hebrew and Arabic, and the nukta, which many leave out. Not й, a letter
# of its own, and no vowel signs of other scripts.
POINTS = re.compile(
    "(?<!и)\u0306|[\u0300-\u0305\u0307-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed"
    "\u08ca-\u08ff\u093c\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufb1e\ufe20-\ufe2f]"
)
LETTERS = str.maketrans(
    {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ł": "l", "ı": "i", "ى": "ي", "ی": "ي", "ک": "ك"}
)


@dataclass(frozen=True, slots=True)
class Normal:
    """A normalised text. `starts` and `ends` are where each of its characters comes from; empty where none moved."""

    text: str
    starts: Sequence[int] = ()
    ends: Sequence[int] = ()

    def origin(self, start: int, end: int) -> tuple[int, int]:
        """Return the range in the original text of a range that is not empty."""
        return (self.starts[start], self.ends[end - 1]) if self.starts else (start, end)


def normalise(text: str) -> Normal:
    """Return `text` in NFKC, its digits from 0 to 9, without what is not seen; case and accents stay."""
    if text.isascii():
        return Normal(text)
    text = DIGIT.sub(_latin_digit, text)
    if unicodedata.is_normalized("NFKC", text) and not IGNORED.search(text):
        return Normal(text)
    pieces: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    text = text.translate(SEPARATING)
    for found in CLUSTER.finditer(text):
        cluster, start, end = found[0], found.start(), found.end()
        piece = cluster
        if not cluster.isascii() and not (cluster == "\u200c" and not IGNORED.match(text, start)):
            piece = IGNORED.sub("", unicodedata.normalize("NFKC", cluster))
        pieces.append(piece)
        if piece == cluster:
            starts += range(start, end)
            ends += range(start + 1, end + 1)
        else:
            starts += [start] * len(piece)
            ends += [end] * len(piece)
    return Normal("".join(pieces), starts, ends)


def _latin_digit(digit: re.Match[str]) -> str:
    return str(unicodedata.decimal(digit[0]))


def fold(word: str) -> str:
    """Return a normalised word without case and accents."""
    word = word.casefold()
    if word.isascii():
        return word
    plain = POINTS.sub("", unicodedata.normalize("NFKD", word)).translate(LETTERS)
    return unicodedata.normalize("NFKC", plain)
