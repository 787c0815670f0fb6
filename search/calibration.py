"""Calibrates a search's floor: what it would lose of right answers, and what nonsense it would hold back. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from search.evaluation import History, Line
from search.floors import Floor

DEPTH = 10
MIN_NEAR = 0.95  # of nonsense, in stores of every size: what a floor has to call only near
STEPS = [step / 50 for step in range(50)]
SIZES = (20, 5, 1)  # conversations of the small stores
NEVER = 2.0  # a floor that no score reaches
WHOLE = "whole"

Scores = np.ndarray
"""The scores and the cosines of some hits: one row for each."""


@dataclass(slots=True)
class Asked:
    """What was asked of stores of one size: the scores of the right answers of each question that they answer.

    `nonsense` and `others` are the scores of the hits of each question that they do not: of anything else, and of
    other histories or conversations, about the same matters.
    """

    right: list[Scores] = field(default_factory=list)
    nonsense: list[Scores] = field(default_factory=list)
    others: list[Scores] = field(default_factory=list)

    def lost(self, floor: Floor) -> float:
        """Return the share of the right answers that are below a floor."""
        return float((~found(np.concatenate(self.right), floor)).mean()) if self.right else 0.0

    def near(self, floor: Floor) -> float:
        """Return the share of the nonsense questions that find nothing."""
        return _nothing(self.nonsense, floor)

    def others_near(self, floor: Floor) -> float:
        """Return the share of the other questions that find nothing."""
        return _nothing(self.others, floor)


def _nothing(asked: Sequence[Scores], floor: Floor) -> float:
    return float(np.mean([not found(scores, floor).any() for scores in asked])) if asked else 1.0


def found(scores: Scores, floor: Floor) -> np.ndarray:
    """Tell of each hit whether it is found."""
    passed: np.ndarray = floor.raised(scores[:, 0], scores[:, 1]) >= floor.score
    return passed


def lowest(asked: Sequence[Asked]) -> Floor:
    """Return the lowest floor that calls enough nonsense only near in each of `asked`: it loses fewest right answers.

    First the lowest of cosines alone, then the lowest of scores beside it.
    """
    cosine = next((step for step in STEPS if _holds(asked, Floor(NEVER, step))), NEVER)
    return Floor(next((step for step in STEPS if _holds(asked, Floor(step, cosine))), NEVER), cosine)


def _holds(asked: Sequence[Asked], floor: Floor) -> bool:
    return all(each.near(floor) >= MIN_NEAR for each in asked)


def stores(histories: Sequence[History]) -> dict[str, list[History]]:
    """Return the histories as stores of every size: whole, and their first and middle conversations."""
    sliced: dict[str, list[History]] = {WHOLE: list(histories)}
    for size in SIZES:
        sliced[str(size)] = [
            History(f"{history.id}, {size} from {begin}", history.sittings[begin : begin + size])
            for history in histories
            for begin in sorted({0, min(len(history.sittings) // 2, len(history.sittings) - size)})
            if size < len(history.sittings)
        ]
    return sliced


def as_histories(texts: Sequence[str]) -> dict[str, list[History]]:
    """Return stores of `texts`, each a conversation of its own; their keys are the texts'."""
    at = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
    sittings = [(Line(("texts", text), "user", text, at),) for text in texts]
    return {
        str(size): [
            History(f"texts, {size} from {begin}", tuple(sittings[begin : begin + size]))
            for begin in range(0, len(sittings) - size + 1, size)
        ]
        for size in SIZES
    }
