"""The topics of the demo's conversations (`topics.json`): each is a template of several turns for several things."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TEXTS = Path(__file__).with_name("topics.json")


@dataclass(frozen=True, slots=True)
class Talk:
    """A conversation to write: `turns` are pairs of question and answer."""

    title: str
    turns: tuple[tuple[str, str], ...]


def talks() -> Iterator[Talk]:
    """Yield every conversation: {x}, {y} and {z} in the texts are replaced by one of the topic's things."""
    for topic in json.loads(TEXTS.read_text(encoding="utf-8")):
        for thing in topic["things"]:
            yield Talk(
                title=_told_of(topic["title"], thing),
                turns=tuple(
                    (_told_of(turn["question"], thing), _told_of(turn["answer"], thing)) for turn in topic["turns"]
                ),
            )


def _told_of(text: str, thing: list[str]) -> str:
    for name, value in zip("xyz", thing, strict=True):
        text = text.replace(f"{{{name}}}", value)
    return text
