"""Semantic search: which passages are nearest to a question, how near, and where in a message they begin."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from search import ranking
from search.allowed import Allowed
from search.backends import backend
from search.embedders import Embedder
from search.embedders.loading import embed_question
from search.floors import floor_of
from search.scopes import Scope

MORE = 16  # times as many passages are asked for where some will not be allowed
WINDOWS = 3  # passages of one message that may be among the nearest
DIGITS = 6  # of a cosine: further digits depend on the linear algebra library


class SemanticQuery:
    """A search's text, embedded by every embedder whose vectors are stored; raises CannotEmbed."""

    def __init__(self, scope: Scope, embedders: Sequence[tuple[int, Embedder]], text: str) -> None:
        self._partitions = None if scope.everybody else scope.partitions
        self._questions = [(number, embed_question(embedder, text)) for number, embedder in embedders]
        self.floor = floor_of(embedder.name for _, embedder in embedders)
        self._known: tuple[np.ndarray, np.ndarray] = (np.zeros(0, "i8"), np.zeros(0))

    def nearest(self, count: int, allowed: Allowed) -> np.ndarray:
        """Return the ids of the `count` nearest entries, best first."""
        if self._partitions == ():
            return np.zeros(0, "i8")
        found = [self._passages_near(number, vector, count * WINDOWS, allowed) for number, vector in self._questions]
        ids, cosines = _together(found)
        if len(self._questions) == 1:  # with several, an entry may be among the nearest of one but not of another
            self._known = ids, cosines
        best: np.ndarray = ids[ranking.in_order(cosines, ids)][:count]
        return best

    def _passages_near(
        self, number: int, vector: np.ndarray, count: int, allowed: Allowed
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the entries and cosines of the `count` nearest passages that are allowed.

        Where those are not listed, more are asked for until enough are: that is as exact, and reads no list of most of
        the store. They are listed after all if too few of the first are allowed.
        """
        if allowed.all or allowed.ids is not None:
            return backend().nearest(self._partitions, number, vector, count, allowed.ids)
        asked = count * MORE
        while True:
            ids, cosines = backend().nearest(self._partitions, number, vector, asked, None)
            first = allowed.first(ids, count)
            if len(first) == count or len(ids) < asked:
                return ids[first], cosines[first]
            if listed := allowed.listed():
                return backend().nearest(self._partitions, number, vector, count, listed.ids)
            asked *= MORE

    def of(self, ids: np.ndarray) -> np.ndarray:
        """Return the cosine of each entry's nearest passage; 0 if it has none."""
        known, result = ranking.looked_up(ids, *self._known)
        rest = ids[~known]
        if len(rest):
            found = [(entries, cosines) for entries, cosines, _ in self._passages(rest.tolist())]
            _, result[~known] = ranking.looked_up(rest, *_together(found))
        return result

    def begins(self, ids: Sequence[int]) -> dict[int, int]:
        """Return where, in code points of its message, each entry's nearest passage begins."""
        best: dict[int, tuple[float, int]] = {}
        for entries, cosines, starts in self._passages(ids) if ids else ():
            for entry, cosine, start in zip(entries.tolist(), cosines.tolist(), starts.tolist(), strict=True):
                best[entry] = max(best.get(entry, (-2.0, 0)), (cosine, start))
        return {entry: start for entry, (_, start) in best.items()}

    def _passages(self, ids: Sequence[int]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        return [backend().similarities(self._partitions, number, vector, ids) for number, vector in self._questions]


def _together(found: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    ids = np.concatenate([each[0] for each in found])
    cosines = np.concatenate([each[1] for each in found])
    return ranking.best_passages(ids, np.round(cosines.astype("f8"), DIGITS))
