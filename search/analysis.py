"""The text analyser: folds case and accents, stems words, hashes them to terms. The same on every database; pure."""

from __future__ import annotations

import functools
import hashlib
import re
import threading
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import Stemmer
from django.conf import settings

# Scripts written without spaces are indexed by pairs of characters.
UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\u0e00-\u0e7f"
# Accents and vowel signs that are separate characters belong to their word.
SIGNS = "\u0300-\u036f\u0591-\u05bd\u0610-\u061a\u064b-\u065f\u0900-\u0963\u0966-\u0dff"
LETTER = rf"(?:[^\W_{UNSPACED}]|[{SIGNS}])"
TOKEN = re.compile(rf"[{UNSPACED}]+|{LETTER}+")
UNSPACED_START = re.compile(f"[{UNSPACED}]")
QUERY_PART = re.compile(r'(?P<minus>(?<!\S)-)?(?:"(?P<phrase>[^"]*)"?|(?P<words>[^\s"]+))')
MAX_WORD_CHARS = 64
WORDS_REMEMBERED = 2_000
MAX_QUERY_WORDS = 32
HASH_BITS = 40
ENGLISH = """
a about above after again all also am an and any are as at be because been before being below between both but by
can could did do does doing down during each few for from further had has have having he her here hers him his how
i if in into is it its just me more most my no nor not now of off on once only or other our out over own same she
should so some such than that the their them then there these they this those through to too under until up very
was we were what when where which while who whom why will with would you your i'm i've i'll i'd you're you've you'll
he's she's it's we're we've we'll they're they've they'll that's what's who's where's how's there's let's
isn't aren't wasn't weren't hasn't haven't hadn't doesn't don't didn't won't wouldn't can't couldn't shouldn't
"""
_LETTERS = {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ł": "l", "ı": "i"}
_own = threading.local()


class Word(NamedTuple):
    """A word in a text: its stem, and its range in code points."""

    stem: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Query:
    """A parsed query: the stems that count, the phrases that must occur, the phrases that must not."""

    stems: tuple[str, ...] = ()
    phrases: tuple[tuple[str, ...], ...] = ()
    excluded: tuple[tuple[str, ...], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.stems or self.phrases)


def fold(word: str) -> str:
    """Return `word` without case and accents."""
    word = word.casefold()
    if word.isascii():
        return word
    plain = "".join(_LETTERS.get(c, c) for c in unicodedata.normalize("NFKD", word) if not unicodedata.combining(c))
    return unicodedata.normalize("NFKC", plain)


def words(text: str) -> Iterator[Word]:
    """Yield the words of `text` in order."""
    stem = _stemmer()
    for found in TOKEN.finditer(text):
        raw, start = found[0], found.start()
        if UNSPACED_START.match(raw):
            yield from _pairs(raw, start)
        else:
            yield Word(stem(raw), start, found.end())


def stems(text: str) -> list[str]:
    """Return the stems of `text` in order, with repetitions."""
    return [word.stem for word in words(text)]


def parse(text: str) -> Query:
    """Parse what a user typed: words, "an exact phrase", -excluded. Everything else is read as words; never fails."""
    found: list[str] = []
    phrases: list[tuple[str, ...]] = []
    excluded: list[tuple[str, ...]] = []
    for part in QUERY_PART.finditer(text):
        quoted = part["phrase"] is not None
        part_stems = tuple(stems(part["phrase"] if quoted else part["words"]))
        if not part_stems:
            continue
        if part["minus"]:
            excluded.append(part_stems)
        elif quoted:
            phrases.append(part_stems)
            found.extend(part_stems)
        else:
            found.extend(part_stems)
    unique = list(dict.fromkeys(found))
    # A query of only stop words is still a query.
    discriminative = [stem for stem in unique if stem not in stop_stems(settings.SEARCH_LANGUAGE)] or unique
    return Query(tuple(discriminative[:MAX_QUERY_WORDS]), tuple(phrases[:8]), tuple(excluded[:MAX_QUERY_WORDS]))


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


def contains_phrase(text_stems: list[str], phrase: tuple[str, ...]) -> bool:
    """Tell whether the stems of `phrase` follow each other in `text_stems`."""
    size, first = len(phrase), phrase[0]
    return any(stem == first and tuple(text_stems[at : at + size]) == phrase for at, stem in enumerate(text_stems))


@functools.cache
def stop_stems(language: str) -> frozenset[str]:
    """Return the stemmed stop words of `language`; empty if it has no list, so that only rarity weighs its words."""
    return frozenset(stems(ENGLISH)) if language == "english" else frozenset()


def known_language(language: str) -> bool:
    return language == "none" or language in Stemmer.algorithms()


def _stemmer() -> Callable[[str], str]:
    """Return this thread's stemming function: a stemmer is not thread-safe."""
    language = settings.SEARCH_LANGUAGE
    if getattr(_own, "language", None) != language:
        _own.language = language
        cut = Stemmer.Stemmer(language).stemWord if language in Stemmer.algorithms() else str

        def stem(word: str) -> str:
            return cut(fold(word)[:MAX_WORD_CHARS])

        # Cached, because most words of a text occurred before. Over-long words, which may be a megabyte, are not
        # cached.
        known = functools.lru_cache(WORDS_REMEMBERED)(stem)
        _own.stem = lambda word: known(word) if len(word) <= MAX_WORD_CHARS else stem(word)
    found: Callable[[str], str] = _own.stem
    return found


def _pairs(run: str, start: int) -> Iterator[Word]:
    if len(run) == 1:
        yield Word(run, start, start + 1)
    for at in range(len(run) - 1):
        yield Word(run[at : at + 2], start + at, start + at + 2)
