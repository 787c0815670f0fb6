"""Reads judged histories from a file.

The file is LoCoMo or LongMemEval as it is distributed (`published_sets.py`), or JSON: `conversations[] {id, messages[]
{id, session, date, speaker, text, caption}}` in time order, and `questions[] {id, conversation, text, evidence[],
category}`, where evidence lists the ids of the messages that answer.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from search.evaluation import History, JudgedSet, Line, Question, read_date
from search.published_sets import read_published


class BadFile(Exception):
    """The file is not a judged set."""


def read_judged(path: Path) -> JudgedSet:
    """Read a judged set, without the questions whose evidence is not in it; raises BadFile."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        judged = read_published(data) if isinstance(data, list) else _own(data)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise BadFile(f"{path} is not a judged set: {type(error).__name__} {error}") from error
    known = {line.key for history in judged.histories for sitting in history.sittings for line in sitting}
    return replace(judged, questions=[each for each in judged.questions if each.evidence and each.evidence <= known])


def _own(data: dict[str, Any]) -> JudgedSet:
    return JudgedSet("", [_history(each) for each in data["conversations"]], list(map(_question, data["questions"])))


def _history(data: dict[str, Any]) -> History:
    sittings: dict[Any, list[Line]] = {}
    for message in data["messages"]:
        sitting = sittings.setdefault(message["session"], [])
        # A caption is part of the message.
        caption = f" [{message['caption']}]" if message.get("caption") else ""
        at = read_date(message["date"], seconds=len(sitting))
        key = (data["id"], message["id"])
        sitting.append(Line(key, message["speaker"], f"{message['text']}{caption}", at))
    return History(data["id"], tuple(map(tuple, sittings.values())))


def _question(data: dict[str, Any]) -> Question:
    evidence = frozenset((data["conversation"], each) for each in data["evidence"])
    return Question(data["conversation"], data["text"], evidence, str(data.get("category", "")))
