"""What is a word in which script: letters, scripts written without spaces, emoji, and what joins parts of a word."""

from __future__ import annotations

import re
from collections.abc import Sequence

from search.normalising import MARKS

# Chinese, Japanese, Korean (also what was left decomposed), Bopomofo and Yi.
EAST = (
    "\u1100-\u11ff\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u3035\u303b\u3041-\u309a\u309d-\u309f\u30a1-\u30fa"
    "\u30fc-\u30ff\u3105-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua48c\ua960-\ua97f"
    "\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff"
)
TIBETAN = "\u0f00\u0f20-\u0f33\u0f35\u0f37\u0f39\u0f40-\u0fbc"
TSHEG = "\u0f0b\u0f0c"  # between two syllables of Tibetan
# Thai, Lao, Burmese, Khmer, Tai Le, New Tai Lue, Tai Tham, Javanese, Tai Viet and Balinese.
SOUTH = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e50-\u0e59\u0e81-\u0edf\u1000-\u1049\u104c-\u109f\ua9e0-\ua9fe\uaa60-\uaa7f"
    "\u1780-\u17d3\u17d7\u17dc\u17dd\u17e0-\u17e9\u1950-\u1974\u1980-\u19da\u1a20-\u1a99\ua980-\ua9c0\uaa80-\uaadf"
    "\u1b00-\u1b59"
)
STACKING = "\u1039\u17d2\u1a60\ua9c0\u1b44"  # signs that put the next consonant below this one
UNSPACED = f"{EAST}{TIBETAN}{SOUTH}"
EMOJI = "[\U0001f1e6-\U0001f1ff]{2}|[\u00a2-\u00a9\u00ae\u20a0-\u20cf\u2190-\u24ff\u25a0-\u2bff\U0001f000-\U0001faff]"
# A word, a run of a script without spaces (1), or an emoji (2).
TOKEN = re.compile(
    rf"[^\W_{UNSPACED}]+(?:[{MARKS}]+[^\W_{UNSPACED}]*)*|([{UNSPACED}][{UNSPACED}{MARKS}{TSHEG}]*)|({EMOJI})"
)
MANY_SIGNED = re.compile(f"[{TIBETAN}{TSHEG}{MARKS}]")
UNIT = re.compile(rf"[{TIBETAN}]+|[^{TSHEG}](?:[{STACKING}][{UNSPACED}]|[{MARKS}])*")
# `C++`, `F#`; a sign that is not the beginning of something else.
SUFFIX = re.compile(r"\+\+|[#+](?!\w)")
CONNECTORS = frozenset("-_.\u2010\u200c")
# getUserById, HttpRequestHandler: three parts and more. GitHub is a name, which nobody searches by its halves.
HUMPS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
MIN_HUMPS = 3
QUOTES = '"“”„‟«»「」『』〝〞〟＂'


def units(run: str) -> Sequence[tuple[str, int, int]]:
    """Return what counts as one character of a run: with its signs, in Tibetan a syllable. With its range."""
    if not MANY_SIGNED.search(run):
        return [(character, at, at + 1) for at, character in enumerate(run)]
    return [(found[0], found.start(), found.end()) for found in UNIT.finditer(run)]


def connects(text: str, at: int) -> bool:
    """Tell whether the character at `at`, between two words, makes one of them; not the point of a number."""
    return text[at] in CONNECTORS and not (text[at] == "." and text[at - 1].isdigit() and text[at + 1].isdigit())


def prefix(text: str, start: int) -> int:
    """Return where a word with a sign before it begins: `--dry-run`, `-v`, `.NET`. Without one it is `start`."""
    sign = text[start - 1] if start else ""
    if sign not in ("-", "."):
        return start
    at = start - 2 if sign == "-" and text[start - 2 : start] == "--" else start - 1
    before = text[at - 1] if at else " "
    return start if before.isalnum() or before in "-_.)]" else at


def humps(word: str) -> list[str]:
    """Return the parts of a word in camel case, if there are enough."""
    if word.islower() or word.isupper() or word.istitle() or not word.isascii():
        return []
    found = HUMPS.findall(word)
    return found if len(found) >= MIN_HUMPS else []
