"""What a search is asked and what it answers: frozen values. Knows no database and no model."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from enum import StrEnum

from conversations.models import Message

MOST_HITS = 100


class Mode(StrEnum):
    """How to look: by words, by meaning, or by both."""

    HYBRID = "hybrid"
    SEMANTIC = "semantic"
    TEXT = "text"


class InvalidCursor(Exception):
    """This cursor was not given for this search."""


@dataclass(frozen=True, slots=True)
class Filters:
    """What narrows a search. `after` is inclusive, `before` is not; `archived` None is both.

    `owner_id` counts in `search_everybody` only: elsewhere it is the caller whose messages are searched.
    """

    conversation_id: uuid.UUID | None = None
    roles: tuple[str, ...] = ()
    model: str = ""
    after: dt.datetime | None = None
    before: dt.datetime | None = None
    archived: bool | None = None
    end_user: str = ""
    owner_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """One message that was found. Scores are from 0 to 1; `score` is comparable within one answer.

    `highlights` are (start, end) in code points of `snippet`. A half's score is None where it did not find
    the message. `before` and `after` are its neighbours on its branch.
    """

    message: Message
    snippet: str
    highlights: tuple[tuple[int, int], ...]
    score: float
    text_score: float | None
    semantic_score: float | None
    shown: bool
    before: Message | None
    after: Message | None

    @property
    def matched(self) -> str:
        """Say why it was found: `words`, `meaning` or `both`."""
        if self.text_score is not None and self.semantic_score is not None:
            return "both"
        return "words" if self.text_score is not None else "meaning"


@dataclass(frozen=True, slots=True)
class Hits:
    """One page of an answer, best first. `mode` is what really answered, `why` the reason where it is not `asked`."""

    hits: tuple[Hit, ...]
    asked: Mode
    mode: Mode
    why: str
    next_cursor: str
    took_ms: float
