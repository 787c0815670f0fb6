"""Judged histories, and how a search of them is scored. Pure: `judged_files.py` reads them."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

DATES = ("%I:%M %p on %d %B, %Y", "%Y/%m/%d (%a) %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d")
DEPTHS = (1, 5, 10)


@dataclass(frozen=True, slots=True)
class Line:
    """One message of a history. `key` is the id by which questions refer to it.

    Without a `role` the first speaker of a session is its user.
    """

    key: tuple[str, str]
    speaker: str
    content: str
    at: dt.datetime
    role: str = ""


@dataclass(frozen=True, slots=True)
class History:
    """One long history, session by session."""

    id: str
    sittings: tuple[tuple[Line, ...], ...]


@dataclass(frozen=True, slots=True)
class Question:
    history: str
    text: str
    evidence: frozenset[tuple[str, str]]
    category: str


@dataclass(frozen=True, slots=True)
class JudgedSet:
    """Histories with questions. `name` is that of a published set; `role` the only one whose messages are searched."""

    name: str
    histories: list[History]
    questions: list[Question]
    role: str = ""

    def limited(self, count: int) -> JudgedSet:
        """Return the set with at most `count` of its questions, evenly spread, and their histories."""
        chosen = self.questions[:: -(-len(self.questions) // count)] if self.questions else []
        names = {each.history for each in chosen}
        return replace(self, histories=[each for each in self.histories if each.id in names], questions=chosen)


@dataclass(slots=True)
class Scores:
    """The sums of the scores of many questions."""

    count: int = 0
    recall: dict[int, float] = field(default_factory=lambda: dict.fromkeys(DEPTHS, 0.0))
    reciprocal: float = 0.0
    gain: float = 0.0

    def add(self, found: Sequence[Any], wanted: frozenset[Any]) -> None:
        """Add one question; `found` is sorted best first."""
        self.count += 1
        for depth in DEPTHS:
            self.recall[depth] += len(wanted & set(found[:depth])) / len(wanted)
        right = [place for place, each in enumerate(found[:10]) if each in wanted]
        self.reciprocal += 1 / (1 + right[0]) if right else 0.0
        ideal = sum(1 / math.log2(2 + place) for place in range(min(10, len(wanted))))
        self.gain += sum(1 / math.log2(2 + place) for place in right) / ideal

    def row(self) -> list[float]:
        """Return recall at each depth, MRR and nDCG@10, as means."""
        return [value / max(self.count, 1) for value in (*self.recall.values(), self.reciprocal, self.gain)]


def read_date(text: str, *, seconds: int) -> dt.datetime:
    """Return the time that is `seconds` after the beginning of a session; raises ValueError."""
    for form in DATES:
        try:
            return dt.datetime.strptime(text, form).replace(tzinfo=dt.UTC) + dt.timedelta(seconds=seconds)
        except ValueError:
            continue
    raise ValueError(f"a date like none of {', '.join(DATES)}")
