"""The floor of a search: the score from which a hit counts as found. Below it a hit is only the nearest there is. Pure.

Every model has cosines of its own, so a floor belongs to an embedder: `manage.py calibrate_search` measures it, and
docs/search.md has the figures. An embedder without a floor calls every hit found, as a search by words alone does:
there a hit has a word itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Floor:
    """A hit is found if its score is `score` or more, or its cosine alone is `cosine` or more."""

    score: float
    cosine: float

    def raised(self, scores: np.ndarray, cosines: np.ndarray) -> np.ndarray:
        """Return scores, at least `score` for hits that are found by their cosines.

        A hit without a word of the question has half a score: it may be the answer all the same.
        """
        raised: np.ndarray = np.where(cosines >= self.cosine, np.maximum(scores, self.score), scores)
        return raised


NO_FLOOR = Floor(score=0.0, cosine=0.0)
FLOORS: Mapping[str, Floor] = {
    "minilm": Floor(score=0.28, cosine=0.28),
    "minilm-int8": Floor(score=0.28, cosine=0.28),
    # For tests: the cosine is four standard deviations of that of random vectors with 64 dimensions.
    "hashing:64": Floor(score=0.35, cosine=0.5),
}


def floor_of(names: Iterable[str]) -> Floor:
    """Return the floor for scores from these embedders: the lowest, as a score is the best of theirs."""
    floors = [FLOORS.get(name, NO_FLOOR) for name in names]
    return Floor(min(each.score for each in floors), min(each.cosine for each in floors))
