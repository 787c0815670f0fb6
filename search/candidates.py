"""Runs both halves of a search, text and semantic, and merges them: the entries, their order, and why each matched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from conversations.message_files import FileSays, texts_of
from conversations.models import Message
from search import ranking
from search.analysis import sequence
from search.backends import backend
from search.file_texts import regions_with
from search.languages import language_of
from search.models import PARTITION_SHIFT, Entry
from search.parsing import OPTIONAL, Phrase, Query
from search.scopes import Scope
from search.semantic import SemanticQuery

BLOCK = ranking.CANDIDATES
MAX_BLOCKS = 20
DISCRIMINATIVE_ENTRIES = 100  # entries whose neighbours count: twice a block's share of the text search


@dataclass(frozen=True, slots=True)
class Candidate:
    """An entry that was found. A half's score is None if that half did not find it."""

    entry: int
    score: float
    text: float | None
    semantic: float | None


def find(
    scope: Scope,
    query: Query,
    semantic: SemanticQuery | None,
    allowed: np.ndarray | None,
    blocks: int,
) -> list[Candidate]:
    """Return candidates, best first, in blocks: each merges the next best of both halves and is ordered by itself.

    Later blocks rank below earlier ones, so that a further page never changes the page before it.
    """
    own = allowed if scope.narrower else None
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
    best = ranking.best_text(matches, count, allowed, own_only=own_only) if matches is not None else np.zeros(0, "i8")
    text_ids, semantic_ids = set(best.tolist()), set(nearest.tolist())
    found: list[Candidate] = []
    seen: set[int] = set()
    for block in range(blocks):
        part = slice(block * BLOCK, (block + 1) * BLOCK)
        fresh = (set(best[part].tolist()) | set(nearest[part].tolist())) - seen
        seen |= fresh
        ids = np.array(sorted(fresh), "i8")
        if not len(ids):
            break
        words, lengths = matches.of(ids) if matches is not None else (np.zeros(len(ids)), np.zeros(len(ids)))
        if semantic is not None:
            cosines = semantic.of(ids)
            scores = ranking.fuse(words, cosines, lengths) if matches is not None else np.clip(cosines, 0, 1)
        else:
            cosines, scores = np.zeros(len(ids)), words
        ceiling = found[-1].score if found else 1.0
        found += [
            Candidate(
                entry=int(ids[at]),
                score=min(float(scores[at]), ceiling),
                text=float(words[at]) if int(ids[at]) in text_ids else None,
                semantic=max(0.0, float(cosines[at])) if int(ids[at]) in semantic_ids else None,
            )
            for at in ranking.in_order(scores, ids)
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


def _with_phrases(scope: Scope, query: Query, allowed: np.ndarray | None) -> np.ndarray | None:
    """Return `allowed` without the entries that lack a phrase or contain an excluded one."""
    for phrase in query.phrases:
        matching = _with_phrase(scope, phrase)
        allowed = matching if allowed is None else np.intersect1d(allowed, matching)
    unwanted = [_with_phrase(scope, phrase) for phrase in query.excluded]
    if unwanted:
        if allowed is None:
            allowed = _everything(scope)
        allowed = np.setdiff1d(allowed, np.concatenate(unwanted))
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


def _everything(scope: Scope) -> np.ndarray:
    entries = Entry.objects.order_by("pk").values_list("pk", flat=True)
    if scope.everybody:
        return np.fromiter(entries.iterator(), "i8")
    ranges = [(pk << PARTITION_SHIFT, (pk + 1) << PARTITION_SHIFT) for pk in scope.partitions]
    inside = [entries.filter(pk__gte=first, pk__lt=end) for first, end in ranges]
    return np.fromiter((pk for found in inside for pk in found), "i8")
