"""Both halves of a search, asked and brought together: which entries, in which order, and why."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from conversations.models import Message
from search import ranking
from search.analysis import Query, says_phrase, stems, term_of
from search.backends import backend
from search.meaning import Meaning
from search.models import SPACE_BITS, Entry
from search.scopes import Scope

BLOCK = ranking.CANDIDATES
MOST_BLOCKS = 20
TELLING = 100  # entries whose neighbourhood is looked at: twice what can be found by words


@dataclass(frozen=True, slots=True)
class Candidate:
    """One entry that was found. A half's score is None where that half did not find it."""

    entry: int
    score: float
    text: float | None
    meaning: float | None


def find(
    scope: Scope,
    query: Query,
    meaning: Meaning | None,
    allowed: np.ndarray | None,
    blocks: int,
) -> list[Candidate]:
    """Return candidates, best first: blocks of the best of each half, each fused and ordered in itself.

    Later blocks stand below earlier ones, so that a further page never changes the one before.
    """
    own = allowed if scope.narrower else None
    allowed = _with_phrases(scope, query, allowed)
    count = BLOCK * blocks
    postings, weights = _postings(scope, query, own)
    near = meaning.nearest(count, allowed) if meaning is not None else np.zeros(0, "i8")
    telling = ranking.most_telling(postings, weights, max(TELLING, count))
    known = np.union1d(telling, near).tolist()
    matches = ranking.match_text(postings, weights, backend().around(known)) if postings else None
    # Who asks for words alone wants to see them; with meaning beside them an answer may do with its question's.
    own_only = meaning is None
    said = ranking.best_text(matches, count, allowed, own_only=own_only) if matches is not None else np.zeros(0, "i8")
    by_words, by_meaning = set(said.tolist()), set(near.tolist())
    found: list[Candidate] = []
    seen: set[int] = set()
    for block in range(blocks):
        part = slice(block * BLOCK, (block + 1) * BLOCK)
        fresh = (set(said[part].tolist()) | set(near[part].tolist())) - seen
        seen |= fresh
        ids = np.array(sorted(fresh), "i8")
        if not len(ids):
            break
        words, lengths = matches.of(ids) if matches is not None else (np.zeros(len(ids)), np.zeros(len(ids)))
        if meaning is not None:
            cosines = meaning.of(ids)
            scores = ranking.fuse(words, cosines, lengths) if matches is not None else np.clip(cosines, 0, 1)
        else:
            cosines, scores = np.zeros(len(ids)), words
        ceiling = found[-1].score if found else 1.0
        found += [
            Candidate(
                entry=int(ids[at]),
                score=min(float(scores[at]), ceiling),
                text=float(words[at]) if int(ids[at]) in by_words else None,
                meaning=max(0.0, float(cosines[at])) if int(ids[at]) in by_meaning else None,
            )
            for at in ranking.in_order(scores, ids)
        ]
    return found


def _postings(scope: Scope, query: Query, own: np.ndarray | None) -> tuple[list[np.ndarray], np.ndarray]:
    """Return who says each word and how much it weighs; `own` are the caller's, where others share the space."""
    if not query.stems or not scope.spaces:
        return [], np.zeros(0)
    lists = backend().postings([[term_of(space, stem) for space in scope.spaces] for stem in query.stems])
    size = scope.size
    if own is not None:
        lists, size = [rows[np.isin(rows["id"], own)] for rows in lists], len(own)
    return lists, ranking.rarity([len(rows) for rows in lists], size)


def _with_phrases(scope: Scope, query: Query, allowed: np.ndarray | None) -> np.ndarray | None:
    """Return `allowed` without what does not say a phrase, or says what is excluded."""
    for phrase in query.phrases:
        saying = _saying(scope, phrase)
        allowed = saying if allowed is None else np.intersect1d(allowed, saying)
    unwanted = [_saying(scope, phrase) for phrase in query.excluded]
    if unwanted:
        if allowed is None:
            allowed = _everything(scope)
        allowed = np.setdiff1d(allowed, np.concatenate(unwanted))
    return allowed


def _saying(scope: Scope, phrase: tuple[str, ...]) -> np.ndarray:
    """Return the sorted ids of the entries whose own text says `phrase`."""
    if not scope.spaces:
        return np.zeros(0, "i8")
    terms = [[term_of(space, stem) for space in scope.spaces] for stem in dict.fromkeys(phrase)]
    ids = None
    for rows in backend().postings(terms):
        found = np.unique(rows["id"].astype("i8"))
        ids = found if ids is None else np.intersect1d(ids, found)
    if ids is None or len(phrase) == 1 or not len(ids):
        return ids if ids is not None else np.zeros(0, "i8")
    messages = dict(Entry.objects.filter(pk__in=ids.tolist()).values_list("message_id", "id"))
    texts = Message.objects.filter(pk__in=list(messages)).values_list("id", "content")
    return np.array(sorted(messages[pk] for pk, content in texts if says_phrase(stems(content), phrase)), "i8")


def _everything(scope: Scope) -> np.ndarray:
    entries = Entry.objects.order_by("pk").values_list("pk", flat=True)
    if scope.everybody:
        return np.fromiter(entries.iterator(), "i8")
    inside = [entries.filter(pk__gte=space << SPACE_BITS, pk__lt=(space + 1) << SPACE_BITS) for space in scope.spaces]
    return np.fromiter((pk for found in inside for pk in found), "i8")
