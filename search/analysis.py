"""The text analyser: normalised, split into words, stemmed, hashed to terms. The same on every database; pure.

Beside the words that a text is made of it yields what else finds them: single characters of scripts that are indexed by
pairs, the one word that `e-mail` or `user_id` also is, the signs of `C++` and `--dry-run`, the parts of `getUserById`.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Container, Iterable, Iterator
from enum import StrEnum
from operator import itemgetter
from typing import NamedTuple

from django.conf import settings

from search import scripts
from search.languages import stemmer, usual_language
from search.normalising import fold, normalise

VERSION = 2  # of what this module makes of a text: another number makes the terms of all messages anew
HASH_BITS = 40
MAX_JOINED = 32  # parts of a word
SUFFIXES = ("+", "#")


class Kind(StrEnum):
    """What a token is to its text, and whether its ending is cut off."""

    WORD = "a word between others"
    EMOJI = "an emoji"
    PAIR = "two characters of a script without spaces"
    ALONE = "a run of one character"
    CHARACTER = "one character of a longer run"
    JOINED = "words that a sign joins, without it"
    SIGNED = "a word with the signs before or after it"
    PART = "a part of a word in camel case"


STEMMED = frozenset({Kind.WORD, Kind.JOINED, Kind.PART})
# What counts for the length of a text: it says something, and says it once.
LENGTH = frozenset({Kind.WORD, Kind.PAIR, Kind.ALONE})
# What follows each other in every part of a text, however it is cut.
SEQUENCE = frozenset({Kind.WORD, Kind.EMOJI, Kind.CHARACTER, Kind.ALONE})


class Token(NamedTuple):
    """What a text is found by, with its range in the normalised text; not stemmed yet."""

    text: str
    start: int
    end: int
    kind: Kind

    def stem(self, language: str) -> str:
        return stemmer(language)(self.text) if self.kind in STEMMED else self.text


class Word(NamedTuple):
    """What a text is found by: its stem, and its range in code points of the original text."""

    stem: str
    start: int
    end: int


def tokens(text: str) -> Iterator[Token]:
    """Yield the tokens of a normalised text. Those that stand beside a word follow it."""
    joined: list[Token] = []
    for found in scripts.TOKEN.finditer(text):
        start, end = found.span()
        which = found.lastindex
        if joined and (which or start != joined[-1].end + 1 or not scripts.connects(text, start - 1)):
            if _is_more(text, joined):
                yield from _beside(text, joined)
            joined = []
        if which is None:
            word = Token(found[0], start, end, Kind.WORD)
            yield word
            if len(joined) < MAX_JOINED:
                joined.append(word)
        elif which == 1:
            yield from _run(found[0], start)
        else:
            yield Token(found[0], start, end, Kind.EMOJI)
    if joined and _is_more(text, joined):
        yield from _beside(text, joined)


def words(text: str, language: str, wanted: Container[str] | None = None) -> list[Word]:
    """Return what `text` is found by, in order; only what has one of the `wanted` stems where they are given."""
    normal = normalise(text)
    stem = stemmer(language)
    found = []
    for token, start, end, kind in tokens(normal.text):
        cut = stem(token) if kind in STEMMED else token
        if wanted is None or cut in wanted:
            found.append(Word(cut, *normal.origin(start, end)))
    return sorted(found, key=itemgetter(1, 2))


def stems(text: str) -> list[str]:
    """Return the stems of `text` in order, with repetitions, as if it were in the usual language."""
    return [token.stem(usual_language()) for token in tokens(normalise(text).text) if token.kind in LENGTH]


def sequence(text: str, language: str) -> list[str]:
    """Return what follows each other in `text`: its stems, and the single characters of scripts without spaces."""
    return [token.stem(language) for token in tokens(normalise(text).text) if token.kind in SEQUENCE]


def indexed(text: str, language: str) -> tuple[frozenset[str], int]:
    """Return the different stems under which `text` is indexed, and its length in words."""
    found, length = set(), 0
    stem = stemmer(language)
    for token, _, _, kind in tokens(normalise(text).text):
        found.add(stem(token) if kind in STEMMED else token)
        length += kind in LENGTH
    return frozenset(found), length


def term_of(partition: int, stem: str) -> int:
    """Return the number under which `partition` indexes `stem`.

    Each partition has its own numbers, so that no posting list is ever shared. The numbers are hashes, so what remains
    of a deleted message until the index is compacted is not text (though words can still be guessed from the file).
    """
    digest = hashlib.blake2b(stem.encode("utf-8", "surrogatepass"), digest_size=HASH_BITS // 8).digest()
    return partition << HASH_BITS | int.from_bytes(digest, "big")


def terms_of(partition: int, text_stems: Iterable[str]) -> list[int]:
    """Return the sorted, distinct terms of stems."""
    return sorted({term_of(partition, stem) for stem in text_stems})


def fingerprint() -> int:
    """Return a positive number for this version and setting: terms that were made with another are made anew."""
    return zlib.crc32(f"{VERSION} {settings.SEARCH_LANGUAGE}".encode()) >> 1 | 1


def _run(run: str, start: int) -> Iterator[Token]:
    """Yield the pairs of a run, and its single characters."""
    characters = scripts.units(run)
    kind = Kind.CHARACTER if len(characters) > 1 else Kind.ALONE
    before = None
    for character in characters:
        text, first, end = character
        if before is not None:
            yield Token(before[0] + text, start + before[1], start + end, Kind.PAIR)
        yield Token(text, start + first, start + end, kind)
        before = character


def _is_more(text: str, joined: list[Token]) -> bool:
    """Tell quickly whether there may be anything beside these words: most have nothing."""
    word, start, end, _ = joined[0]
    if len(joined) > 1 or text[end : end + 1] in SUFFIXES or (start and text[start - 1] in "-."):
        return True
    return not word.islower() and not word.istitle()


def _beside(text: str, joined: list[Token]) -> Iterator[Token]:
    """Yield what a word, or several that signs join, is found by beside its parts."""
    start, end, last = joined[0].start, joined[-1].end, joined[-1]
    whole = "".join(token.text for token in joined) if len(joined) > 1 else last.text
    if len(joined) > 1:
        yield Token(whole, start, end, Kind.JOINED)
    for token in joined:
        yield from (Token(part, token.start, token.end, Kind.PART) for part in scripts.humps(token.text))
    if text[end : end + 1] in SUFFIXES and (sign := scripts.SUFFIX.match(text, end)):
        yield Token(fold(last.text) + sign[0], last.start, sign.end(), Kind.SIGNED)
    if start and (begins := scripts.prefix(text, start)) < start:
        yield Token(text[start - 1] + fold(whole), begins, end, Kind.SIGNED)
