"""Runs both halves of a search, text and semantic, and merges them: the entries, their order, and why each matched."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from conversations.message_files import FileSays, texts_of
from conversations.models import Message
from search import ranking
from search.allowed import Allowed
from search.analysis import sequence
from search.backends import backend
from search.file_texts import regions_with
from search.floors import NO_FLOOR
from search.languages import language_of
from search.models import Entry
from search.origins import origins_of
from search.parsing import OPTIONAL, Phrase, Query
from search.scopes import Scope
from search.semantic import SemanticQuery

BLOCK = ranking.CANDIDATES
MAX_BLOCKS = 20
DISCRIMINATIVE_ENTRIES = 100  # entries whose neighbours count: twice a block's share of the text search


@dataclass(frozen=True, slots=True)
class Candidate:
    """An entry and its message, with its score. A half's score is None if that half did not find it.

    `found` is false if the score is below the floor: then it is only the nearest there is. `wordless` is true if it is
    known to contain no word of the query.
    """

    entry: int
    message: uuid.UUID
    score: float
    text: float | None
    semantic: float | None
    found: bool
    wordless: bool


def find(
    scope: Scope,
    query: Query,
    semantic: SemanticQuery | None,
    allowed: Allowed,
    blocks: int,
) -> list[Candidate]:
    """Return candidates, best first, in blocks: each merges the next best of both halves and is ordered by itself.

    Later blocks rank below earlier ones, so that a further page never changes the page before it.
    """
    own = allowed.ids if scope.narrower else None
    allowed = _with_phrases(scope, query, allowed)
    count = BLOCK * blocks
    postings, weights = _postings(scope, query, own)
    nearest = semantic.nearest(count, allowed) if semantic is not None else np.zeros(0, "i8")
    discriminative = ranking.most_discriminative(postings, weights, max(DISCRIMINATIVE_ENTRIES, count))
    known = np.union1d(discriminative, nearest).tolist()
    matches = ranking.match_text(postings, weights, backend().around(known)) if postings else None
    # A search by words alone finds only messages that contain them; with semantic search an answer can also be found by
    # the words of its question.
    own_only = semantic is None
    first = None if allowed.all else allowed.first
    best = ranking.best_text(matches, count, first, own_only=own_only) if matches is not None else np.zeros(0, "i8")
    # Where every hit has a word or the phrases of the query itself, all are found.
    floor = NO_FLOOR if semantic is None or query.phrases else semantic.floor
    text_ids, semantic_ids = set(best.tolist()), set(nearest.tolist())
    found: list[Candidate] = []
    seen: set[int] = set()
    every = np.union1d(best, nearest)
    origins = origins_of(every, query)
    best_words, best_cosines = ranking.BestOfConversations(), ranking.BestOfConversations()
    for block in range(blocks):
        part = slice(block * BLOCK, (block + 1) * BLOCK)
        fresh = (set(best[part].tolist()) | set(nearest[part].tolist())) - seen
        seen |= fresh
        ids = np.array(sorted(fresh), "i8")
        if not len(ids):
            break
        here = origins.at(np.searchsorted(every, ids))
        words = matches.of(ids) if matches is not None else None
        wordless = matches.wordless(ids) if matches is not None else np.zeros(len(ids), bool)
        cosines = semantic.of(ids) if semantic is not None else None
        around = ranking.fuse(
            best_words.with_more(here.conversations, words), best_cosines.with_more(here.conversations, cosines)
        )
        # Among messages that have the words alike, a search by words alone prefers the newest, not the longest.
        prefer_long = semantic is not None
        ranked = ranking.in_conversation(ranking.fuse(words, cosines), around, here, prefer_long=prefer_long)
        ceiling = found[-1].score if found else 1.0
        scores = np.minimum(ranked if cosines is None else floor.raised(ranked, cosines), ceiling)
        found += [
            Candidate(
                entry=int(ids[at]),
                message=message,
                score=float(scores[at]),
                text=float(words[at]) if words is not None and int(ids[at]) in text_ids else None,
                semantic=max(0.0, float(cosines[at])) if cosines is not None and int(ids[at]) in semantic_ids else None,
                found=bool(scores[at] >= floor.score),
                wordless=bool(wordless[at]),
            )
            for at in np.lexsort((-ids, -ranked, -scores))  # for equal scores, the newest first
            if (message := here.messages[at]) is not None
        ]
    return found


def _postings(scope: Scope, query: Query, own: np.ndarray | None) -> tuple[list[np.ndarray], np.ndarray]:
    """Return each word's entries and weight; `own` are the caller's entries if others share the partition."""
    if not query.tokens or not scope.partitions:
        return [], np.zeros(0)
    found = backend().postings([scope.terms(token) for token in query.tokens])
    lists = [rows for token, rows in zip(query.tokens, found, strict=True) if len(rows) or token.kind not in OPTIONAL]
    size = scope.size
    if own is not None:
        lists, size = [rows[np.isin(rows["id"], own)] for rows in lists], len(own)
    return lists, ranking.rarity([len(rows) for rows in lists], size)


def _with_phrases(scope: Scope, query: Query, allowed: Allowed) -> Allowed:
    """Return `allowed` without the entries that lack a phrase or contain an excluded one."""
    for phrase in query.phrases:
        allowed = allowed.only(_with_phrase(scope, phrase))
    for phrase in query.excluded:
        allowed = allowed.but(_with_phrase(scope, phrase))
    return allowed


def _with_phrase(scope: Scope, phrase: Phrase) -> np.ndarray:
    """Return the sorted ids of the entries whose own text contains `phrase`."""
    if not scope.partitions:
        return np.zeros(0, "i8")
    terms = [scope.terms(token) for token in phrase.tokens]
    ids = None
    for rows in backend().postings(terms):
        found = np.unique(rows["id"].astype("i8"))
        ids = found if ids is None else np.intersect1d(ids, found)
    if ids is None or len(phrase.tokens) == 1 or not len(ids):
        return ids if ids is not None else np.zeros(0, "i8")
    messages = dict(Entry.objects.filter(pk__in=ids.tolist()).values_list("message_id", "id"))
    texts = Message.objects.filter(pk__in=list(messages)).values_list("id", "content", "has_parts")
    matching, others = [], []
    for pk, content, has_parts in texts:
        if _contains(content, phrase, language_of(content)):
            matching.append(pk)
        elif has_parts:
            others.append(pk)
    matching += [pk for pk, files in texts_of(others) if _is_in_files(files, phrase)]
    return np.array(sorted(messages[pk] for pk in matching), "i8")


def _is_in_files(files: Sequence[FileSays], phrase: Phrase) -> bool:
    for each in files:
        language = language_of(each.text)
        if any(_contains(region, phrase, language) for region in regions_with(each.text, phrase.tokens, language)):
            return True
    return False


def _contains(content: str, phrase: Phrase, language: str) -> bool:
    """Tell whether the words of `phrase` follow each other in `content`."""
    said, wanted = sequence(content, language), sequence(phrase.text, language)
    size = len(wanted)
    return any(said[at : at + size] == wanted for at, stem in enumerate(said) if stem == wanted[0])
