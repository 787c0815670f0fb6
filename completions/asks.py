"""Questions and what became of them, as plain values."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from accounts.principal import Principal
from completions.recall import Recall
from completions.types import Wire

HEAD = uuid.UUID(int=0)
"""As `Ask.parent_id`: after whatever the conversation shows."""

TITLE_CHARS = 80
TITLE_FROM_CHARS = 2_000
# Markdown's signs for headings, quotations, lists and fences at the beginning of a line, for code anywhere.
MARKDOWN = re.compile(r"^[ \t]*(?:#{1,6}[ \t]+|(?:>[ \t]?)+|[-*+][ \t]+|```[\w+-]*$)|`", re.MULTILINE)
BOLD = re.compile(r"(?<!\w)\*\*(\S(?:[^*\n]*\S)?)\*\*(?!\w)")


@dataclass(frozen=True, slots=True)
class Ask:
    """One question, before it is accepted.

    With `conversation_id`, `messages` (one, or none to answer what stands there) go after
    `parent_id`. Without one a conversation is made, or, for `threaded` calls that resend their
    history, found: the longest prefix of `messages` that is stored decides. A new conversation
    belongs to `owner_id`, or else to the caller. A streamed answer begins with `said`, which another
    one was cut off after; the model goes on from there. `store=False` keeps nothing but the fact that the
    run happened. Where `recall` is None, the conversation's own setting holds.
    """

    principal: Principal
    model: str
    upstream: str
    messages: tuple[Wire, ...] = ()
    parameters: Wire = field(default_factory=dict)
    stream: bool = True
    said: str = ""
    conversation_id: uuid.UUID | None = None
    parent_id: uuid.UUID | None = HEAD
    threaded: bool = False
    store: bool = True
    exclusive: bool = True
    title: str = ""
    owner_id: uuid.UUID | None = None
    end_user: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    recall: Recall | None = None
    idempotency_key: str = ""
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A stored question and the run that answers it. `attached`: it was asked before, under the same key."""

    ask: Ask
    run_id: uuid.UUID
    created_at: dt.datetime
    conversation_id: uuid.UUID | None = None
    message_id: uuid.UUID | None = None
    question_id: uuid.UUID | None = None
    digest_before: str = ""
    attached: bool = False
    recall: Recall | None = None
    starts: int = 0
    """How many runs the caller started in this minute, this one included."""


def title_from(messages: Sequence[Wire]) -> str:
    """Return what the user said first, as the title of an untitled conversation: one line, without Markdown's signs."""
    for wire in messages:
        content = wire.get("content")
        if wire.get("role") == "user":
            if isinstance(content, list):
                content = next((part.get("text") for part in content if isinstance(part, dict)), "")
            said = str(content or "").lstrip()[:TITLE_FROM_CHARS]
            line = " ".join(BOLD.sub(r"\1", MARKDOWN.sub("", said)).split()) or " ".join(said.split())
            return line if len(line) <= TITLE_CHARS else line[: TITLE_CHARS - 1].rstrip() + "…"
    return ""
