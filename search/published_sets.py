"""Reads LoCoMo and LongMemEval as their authors distribute them, and scores a search in their terms. Pure.

LoCoMo (locomo10.json) is a list of `{sample_id, conversation: {session_1: [{speaker, dia_id, text, blip_caption?}],
session_1_date_time, ...}, qa: [{question, evidence: ["D1:3"], category}]}`. LongMemEval is a list of `{question_id,
question_type, question, haystack_dates, haystack_sessions: [[{role, content, has_answer?}]]}`, each with a history of
its own. Neither is a part of this project: both come from their authors, under their licences.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from search.evaluation import History, JudgedSet, Line, Question, read_date

DEPTHS = (5, 10)
SESSION = re.compile(r"session_(\d+)\Z")
EVIDENCE = re.compile(r"D:?(\d+):(\d+)")  # some are several in one string, and some are misspelt
CATEGORIES = {1: "multi-hop", 2: "temporal", 3: "open-domain", 4: "single-hop", 5: "adversarial"}
ABSTENTION = "_abs"  # ends the id of a question that nothing answers


def read_published(data: list[dict[str, Any]]) -> JudgedSet:
    """Return the set that `data` is; raises KeyError, TypeError or ValueError for one that is neither."""
    if "haystack_sessions" in data[0]:
        return _longmemeval(data)
    return _locomo(data)


def _locomo(data: list[dict[str, Any]]) -> JudgedSet:
    histories, questions = [], []
    for number, sample in enumerate(data, start=1):
        name = str(sample.get("sample_id", number))
        talk = sample["conversation"]
        sessions = sorted(int(found[1]) for key in talk if (found := SESSION.match(key)))
        sittings = tuple(
            tuple(
                Line(
                    key=(name, turn["dia_id"]),
                    speaker=turn["speaker"],
                    content=turn["text"] + (f" [{turn['blip_caption']}]" if turn.get("blip_caption") else ""),
                    at=read_date(talk[f"session_{session}_date_time"], seconds=place),
                )
                for place, turn in enumerate(talk[f"session_{session}"])
            )
            for session in sessions
        )
        histories.append(History(name, tuple(sitting for sitting in sittings if sitting)))
        for each in sample["qa"]:
            said = EVIDENCE.findall(" ".join(each.get("evidence") or ()))
            evidence = frozenset((name, f"D{session}:{turn}") for session, turn in said)
            category = CATEGORIES.get(each["category"], str(each["category"]))
            questions.append(Question(name, each["question"], evidence, category))
    return JudgedSet("LoCoMo", histories, questions)


def _longmemeval(data: list[dict[str, Any]]) -> JudgedSet:
    """As its authors do, count only questions that a user's turn answers, and search only the user's turns."""
    histories, questions = [], []
    for each in data:
        name = each["question_id"]
        if name.endswith(ABSTENTION):
            continue
        sittings, evidence = [], set()
        for number, (date, turns) in enumerate(zip(each["haystack_dates"], each["haystack_sessions"], strict=True)):
            lines = []
            for place, turn in enumerate(turns):
                key = (name, f"{number}:{place}")
                lines.append(Line(key, "", turn["content"], read_date(date, seconds=place), role=turn["role"]))
                if turn["role"] == "user" and turn.get("has_answer"):
                    evidence.add(key)
            if lines:
                sittings.append(tuple(lines))
        histories.append(History(name, tuple(sittings)))
        questions.append(Question(name, each["question"], frozenset(evidence), each["question_type"]))
    return JudgedSet("LongMemEval", histories, questions, role="user")


@dataclass(slots=True)
class RecallScores:
    """The sums of many questions' recall at each depth: the share of the evidence, whether any of it, whether all."""

    count: int = 0
    share: dict[int, float] = field(default_factory=lambda: dict.fromkeys(DEPTHS, 0.0))
    any: dict[int, int] = field(default_factory=lambda: dict.fromkeys(DEPTHS, 0))
    all: dict[int, int] = field(default_factory=lambda: dict.fromkeys(DEPTHS, 0))

    def add(self, found: Sequence[Any], wanted: frozenset[Any]) -> None:
        """Add one question; `found` is sorted best first."""
        self.count += 1
        for depth in DEPTHS:
            right = len(wanted & set(found[:depth]))
            self.share[depth] += right / len(wanted)
            self.any[depth] += right > 0
            self.all[depth] += right == len(wanted)

    def row(self) -> list[float]:
        """Return the means, in the order of HEADINGS."""
        return [value / max(self.count, 1) for each in (self.share, self.any, self.all) for value in each.values()]


HEADINGS = [f"{name}@{depth}" for name in ("recall", "recall_any", "recall_all") for depth in DEPTHS]
