"""The parameters and results of a search: frozen values, independent of database and embedder."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from enum import StrEnum

from conversations.models import Message

MAX_HITS = 100


class Mode(StrEnum):
    """How to search: by words, by meaning, or by both."""

    HYBRID = "hybrid"
    SEMANTIC = "semantic"
    TEXT = "text"


class Group(StrEnum):
    """What is folded into one hit each."""

    CONVERSATION = "conversation"


class InvalidCursor(Exception):
    """This cursor was made for a different search."""


class SearchNotAllowed(Exception):
    """The caller's own limits turn the search off. The message says whose limit it is, and is safe to show."""


@dataclass(frozen=True, slots=True)
class Filters:
    """Filters of a search. `after` is inclusive, `before` is exclusive; `archived` None means both. `tag` is a key
    (conversations/tags.py).

    Only `search_everybody` reads `owner_id`: in other searches it is the caller whose messages are searched.
    """

    conversation_id: uuid.UUID | None = None
    roles: tuple[str, ...] = ()
    model: str = ""
    after: dt.datetime | None = None
    before: dt.datetime | None = None
    archived: bool | None = None
    end_user: str = ""
    tag: str = ""
    owner_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A message that was found. Scores are from 0 to 1; `score` is comparable within one search.

    `highlights` are (start, end) in code points of `snippet`. A half's score is None if that half did not find the
    message. `before` and `after` are the messages around it on its branch. `found` is false for a hit that is only the
    nearest there is. `others` is how many other messages of its conversation were found; None unless hits are grouped.
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
    found: bool = True
    others: int | None = None

    @property
    def matched(self) -> str:
        """Return why it was found: `words`, `meaning` or `both`."""
        if self.text_score is not None and self.semantic_score is not None:
            return "both"
        return "words" if self.text_score is not None else "meaning"


@dataclass(frozen=True, slots=True)
class Hits:
    """One page of hits, best first. `mode` is the mode that was used.

    `why` is the reason if that is not `asked`, or if the hits were not reranked. `excluded` are the words and
    phrases that no hit contains.
    """

    hits: tuple[Hit, ...]
    asked: Mode
    mode: Mode
    why: str
    excluded: tuple[str, ...]
    next_cursor: str
    took_ms: float
