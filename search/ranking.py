"""Ranks hits: scores text and semantic search on one scale from 0 to 1, and fuses both scores. Pure.

The weights were tuned on judged questions over long histories; docs/search.md has the figures. A word counts in full
for a message that contains it, and in part for one a turn or two away. The weight of a word depends on how rare it is
among the owner's own messages, and never on other people's messages. The best candidate of a conversation lifts the
others in it: what answers a question often stands near what sounds like it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

First = Callable[[np.ndarray, int], np.ndarray]
ONE_TURN, TWO_TURNS = 0.6, 0.5  # the weight of a word that is one or two turns away
TEXT_SHARE = 0.5
CONVERSATION = 0.5  # the weight of the best candidate of the conversation, beside the candidate's own scores
NAMED, ASKING = 0.05, 0.05  # its author is named in the query; it ends with a question, so it tells less
LENGTH_PRIOR, LENGTH_ENOUGH = 0.06, 64  # a longer message is a better answer, up to this many words
LONG, LONG_DAMP = 256, 0.15  # a very long message contains many words by chance
CANDIDATES = 50  # from each half of the search


@dataclass(frozen=True, slots=True)
class TextMatches:
    """Entries (sorted ids), the weighted share of the query's words in each, and if it has one itself."""

    ids: np.ndarray
    scores: np.ndarray
    own: np.ndarray

    def of(self, ids: np.ndarray) -> np.ndarray:
        """Return the scores of these entries; 0 for unknown ones."""
        _, scores = looked_up(ids, self.ids, self.scores)
        return scores

    def wordless(self, ids: np.ndarray) -> np.ndarray:
        """Return which of these entries contain none of the words themselves."""
        _, own = looked_up(ids, self.ids, self.own)
        without: np.ndarray = own == 0
        return without


@dataclass(frozen=True, slots=True)
class Origins:
    """Where candidates come from: message (None if it is gone), conversation, length in words, if the query names the
    author, if it ends by asking.

    One element for each candidate.
    """

    messages: Sequence[uuid.UUID | None]
    conversations: Sequence[Hashable]
    lengths: np.ndarray
    named: np.ndarray
    asking: np.ndarray

    def at(self, places: np.ndarray) -> Origins:
        """Return those at these positions."""
        messages = [self.messages[place] for place in places.tolist()]
        conversations = [self.conversations[place] for place in places.tolist()]
        return Origins(messages, conversations, self.lengths[places], self.named[places], self.asking[places])


class BestOfConversations:
    """The best score of each conversation's candidates, of one half of the search, over all blocks so far."""

    def __init__(self) -> None:
        self._best: dict[Hashable, float] = {}

    def with_more(self, conversations: Sequence[Hashable], scores: np.ndarray | None) -> np.ndarray | None:
        """Return for each of these candidates, which count from now on, the best score of its conversation."""
        if scores is None:
            return None
        for conversation, score in zip(conversations, scores.tolist(), strict=True):
            self._best[conversation] = max(score, self._best.get(conversation, 0.0))
        return np.array([self._best[conversation] for conversation in conversations])


def rarity(found: Sequence[int], total: int) -> np.ndarray:
    """Return the weights of words, given how many of `total` entries contain each."""
    count = np.minimum(np.asarray(found, "f8"), total)
    weights: np.ndarray = np.log1p((total - count + 0.5) / (count + 0.5))
    return weights


def most_discriminative(postings: Sequence[np.ndarray], weights: np.ndarray, count: int) -> np.ndarray:
    """Return the ids of the `count` entries whose own words weigh most."""
    if not postings:
        return np.zeros(0, "i8")
    ids, place = np.unique(np.concatenate([rows["id"] for rows in postings]).astype("i8"), return_inverse=True)
    each: np.ndarray = np.repeat(weights, [len(rows) for rows in postings])
    scores = np.bincount(place, each, minlength=len(ids))
    best: np.ndarray = ids[_best(scores, ids, count)]
    return best


def match_text(postings: Sequence[np.ndarray], weights: np.ndarray, around: np.ndarray) -> TextMatches:
    """Score every entry that contains a word, or is within two turns of one that does and is in `around`."""
    rows = _unique_rows([*postings, around])
    ids = _distinct(np.concatenate([rows["id"], rows["previous_1"], rows["previous_2"]]).astype("i8"))
    ids = ids[ids > 0]
    if not len(ids):
        return TextMatches(ids, np.zeros(0), np.zeros(0, bool))
    own = _places(ids, rows["id"])
    previous_1, previous_2 = _places(ids, rows["previous_1"]), _places(ids, rows["previous_2"])
    scores = np.zeros(len(ids))
    itself: np.ndarray = np.zeros(len(ids), bool)
    for found, weight in zip(postings, weights, strict=True):
        says: np.ndarray = np.zeros(len(ids) + 1, bool)  # the last element stands for "no entry"
        says[_places(ids, found["id"])] = True
        says[-1] = False
        share = np.zeros(len(ids) + 1)
        share[previous_2[says[own]]] = TWO_TURNS
        share[own[says[previous_2]]] = TWO_TURNS
        share[previous_1[says[own]]] = ONE_TURN
        share[own[says[previous_1]]] = ONE_TURN
        share[:-1][says[:-1]] = 1.0
        scores += weight * share[:-1]
        itself |= says[:-1]
    lengths = np.zeros(len(ids) + 1)
    lengths[own] = rows["length"]
    lengths = lengths[:-1]
    damp = 1 + LONG_DAMP * np.log(np.maximum(lengths / LONG, 1))
    return TextMatches(ids, scores / max(float(weights.sum()), 1e-9) / damp, itself)


def best_text(matches: TextMatches, count: int, first: First | None, *, own_only: bool) -> np.ndarray:
    """Return the ids of the `count` best by text; `own_only` leaves out entries that contain no word themselves.

    `first` tells which of ordered ids are the first that may be shown; without it, all may.
    """
    kept = matches.own if own_only else matches.scores > 0
    ids, scores = matches.ids[kept], matches.scores[kept]
    if first is not None:
        ids = ids[in_order(scores, ids)]
        best: np.ndarray = ids[first(ids, count)]
    else:
        best = ids[_best(scores, ids, count)]
    return best


def fuse(text: np.ndarray | None, semantic: np.ndarray | None) -> np.ndarray:
    """Return both halves' scores as one, 0 to 1; None for a half that was not searched."""
    near: np.ndarray = np.zeros(0) if semantic is None else np.maximum(semantic, 0)
    if text is None or semantic is None:
        return near if text is None else text
    both: np.ndarray = TEXT_SHARE * text + (1 - TEXT_SHARE) * near
    return both


def in_conversation(fused: np.ndarray, best: np.ndarray, origins: Origins, *, prefer_long: bool) -> np.ndarray:
    """Return the scores of candidates, 0 to 1, from their fused scores and those of the best in their conversations."""
    total = fused + CONVERSATION * best + NAMED * origins.named - ASKING * origins.asking
    if prefer_long:
        total += LENGTH_PRIOR * np.minimum(1.0, np.log1p(origins.lengths) / np.log(LENGTH_ENOUGH))
    scores: np.ndarray = np.clip(total / (1 + CONVERSATION + NAMED + LENGTH_PRIOR), 0.0, 1.0)
    return scores


def looked_up(ids: np.ndarray, known: np.ndarray, *values: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return which of `ids` are among the sorted `known`, and their element in each of `values`; 0 for the others."""
    if not len(known):
        return np.zeros(len(ids), bool), *(np.zeros(len(ids)) for _ in values)
    at = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    there = known[at] == ids
    return there, *(np.where(there, each[at], 0.0) for each in values)


def in_order(scores: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Return the positions of `ids`, best first; for equal scores, the newest first."""
    return np.lexsort((-ids, -scores))


def best_passages(ids: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each entry once, with the score of its best passage."""
    unique, place = np.unique(ids, return_inverse=True)
    best = np.full(len(unique), -1.0)
    np.maximum.at(best, place, scores)
    return unique, best


def _best(scores: np.ndarray, ids: np.ndarray, count: int) -> np.ndarray:
    if len(scores) > 4 * count:
        # Includes all that score as high as the last one, so that the id breaks ties, whichever of them partition() put
        # first.
        least = np.partition(scores, len(scores) - count)[len(scores) - count]
        near = np.flatnonzero(scores >= least)
        best: np.ndarray = near[in_order(scores[near], ids[near])][:count]
        return best
    return in_order(scores, ids)[:count]


def _distinct(ids: np.ndarray) -> np.ndarray:
    """Return the distinct ids, sorted: `np.unique` hashes them, which takes ten times as long for 100,000."""
    ids = np.sort(ids)
    kept: np.ndarray = ids[np.append(True, ids[1:] != ids[:-1])] if len(ids) else ids
    return kept


def _unique_rows(parts: Sequence[np.ndarray]) -> np.ndarray:
    rows = np.concatenate(parts)
    _, first = np.unique(rows["id"], return_index=True)
    return rows[first]


def _places(ids: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the positions of `wanted` in sorted `ids`; for missing ones, the position after the last."""
    wanted = wanted.astype("i8")
    at: np.ndarray = np.asarray(np.searchsorted(ids, wanted))
    at[at == len(ids)] = 0
    return np.where(ids[at] == wanted, at, len(ids))
