"""Parses what somebody typed into a search: words, "an exact phrase", -excluded. Everything else is words. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from search.analysis import Kind, Token, tokens
from search.languages import is_stop_word, language_of, usual_language
from search.normalising import MARKS, normalise
from search.scripts import QUOTES

MAX_QUERY_WORDS = 32
MAX_PHRASES = 8
PART = re.compile(rf"(?P<minus>(?<!\S)-)?(?:[{QUOTES}](?P<phrase>[^{QUOTES}]*)[{QUOTES}]?|(?P<words>[^\s{QUOTES}]+))")
# What a minus excludes: a word in small letters. Options have two of them, capitals, digits or an equals sign.
EXCLUDABLE = re.compile(rf"[^\W\d_][\w{MARKS}'’-]*[.,;:!?]?")
WANTED = frozenset({Kind.WORD, Kind.EMOJI, Kind.PAIR, Kind.ALONE})
OPTIONAL = frozenset({Kind.JOINED, Kind.SIGNED})  # other spellings, which say nothing where nobody writes them


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words that follow each other: as they are typed, and what the messages that contain them are indexed by."""

    text: str
    tokens: tuple[Token, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """A parsed query: tokens that count, phrases that must occur, phrases that must not."""

    tokens: tuple[Token, ...] = ()
    phrases: tuple[Phrase, ...] = ()
    excluded: tuple[Phrase, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.tokens or self.phrases)


def parse(text: str) -> Query:
    """Parse a query; never fails."""
    text = normalise(text).text
    found: list[Token] = []
    phrases: list[Phrase] = []
    excluded: list[Phrase] = []
    for part in PART.finditer(text):
        quoted = part["phrase"] is not None
        words = part["phrase"] if quoted else part["words"]
        minus = bool(part["minus"])
        if minus and found and (quoted or _is_excludable(words)):
            if phrase := _phrase(words.rstrip(".,;:!?")):
                excluded.append(phrase)
            continue
        if quoted and (phrase := _phrase(words)):
            phrases.append(phrase)
        # With its sign a word that excludes nothing is an option, or a number.
        found += (token for token in tokens(f"-{words}" if minus else words) if token.kind in WANTED | OPTIONAL)
    return Query(_discriminative(found, text), tuple(phrases[:MAX_PHRASES]), tuple(excluded[:MAX_QUERY_WORDS]))


def _is_excludable(words: str) -> bool:
    return bool(EXCLUDABLE.fullmatch(words)) and words == words.lower()


def _phrase(text: str) -> Phrase | None:
    """Return the phrase; None if there is no word in it. `C++` needs its signs, `e-mail` no spelling as one word."""
    wanted = tuple(token for token in tokens(text) if token.kind in WANTED or token.kind is Kind.SIGNED)
    return Phrase(text, wanted) if wanted else None


def _discriminative(found: list[Token], text: str) -> tuple[Token, ...]:
    """Return each of the query's tokens once, without stop words; a query of stop words alone is still a query."""
    found.sort(key=lambda token: token.kind in OPTIONAL)
    unique: dict[str, Token] = {}
    for token in found:
        unique.setdefault(token.stem(usual_language()), token)
    languages = {usual_language(), language_of(text)}
    kept = [
        token
        for token in unique.values()
        if token.kind is not Kind.WORD or not any(is_stop_word(token.text, language) for language in languages)
    ]
    if not any(token.kind in WANTED for token in kept):
        kept = list(unique.values())
    return tuple(kept[:MAX_QUERY_WORDS])
