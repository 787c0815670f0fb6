"""Measures the quality of search: reads judged histories from a file, and scores the results. Pure.

The file is JSON: `conversations[] {id, messages[] {id, session, date, speaker, text, caption}}` in time order, and
`questions[] {id, conversation, text, evidence[], category}`, where evidence lists the ids of the messages that answer.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DATES = ("%I:%M %p on %d %B, %Y", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d")
DEPTHS = (1, 5, 10)


class BadFile(Exception):
    """The file is not a judged set."""


@dataclass(frozen=True, slots=True)
class Line:
    """One message of a history. `key` is the id by which questions refer to it."""

    key: tuple[str, str]
    speaker: str
    content: str
    at: dt.datetime


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


def read_judged(path: Path) -> tuple[list[History], list[Question]]:
    """Read a judged set; raises BadFile."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        histories = [_history(each) for each in data["conversations"]]
        questions = [_question(each) for each in data["questions"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadFile(f"{path} is not a judged set: {type(error).__name__} {error}") from error
    known = {line.key for history in histories for sitting in history.sittings for line in sitting}
    return histories, [each for each in questions if each.evidence and each.evidence <= known]


def _history(data: dict[str, Any]) -> History:
    sittings: dict[Any, list[Line]] = {}
    for message in data["messages"]:
        sitting = sittings.setdefault(message["session"], [])
        # A caption is part of the message.
        caption = f" [{message['caption']}]" if message.get("caption") else ""
        at = _date(message["date"]) + dt.timedelta(seconds=len(sitting))
        key = (data["id"], message["id"])
        sitting.append(Line(key, message["speaker"], f"{message['text']}{caption}", at))
    return History(data["id"], tuple(map(tuple, sittings.values())))


def _question(data: dict[str, Any]) -> Question:
    evidence = frozenset((data["conversation"], each) for each in data["evidence"])
    return Question(data["conversation"], data["text"], evidence, str(data.get("category", "")))


def _date(text: str) -> dt.datetime:
    for form in DATES:
        try:
            return dt.datetime.strptime(text, form).replace(tzinfo=dt.UTC)
        except ValueError:
            continue
    raise ValueError(f"a date like none of {', '.join(DATES)}")
