"""Requests for runs, and the handles of accepted ones, as plain values."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from accounts.callers import Principal
from accounts.throttling import Rate
from completions.conversation_generation import ConversationGeneration
from completions.recall import Recall
from completions.types import Wire
from files.embedded import EmbeddedContent

if TYPE_CHECKING:
    from completions.prefixes import History

HEAD = uuid.UUID(int=0)
"""A `RunRequest.parent_id` that means: after the last message of the shown branch."""


class WhenBusy(StrEnum):
    """What becomes of a question while an answer is written in its conversation: it is refused, stops it, or waits."""

    REJECT = "reject"
    INTERRUPT = "interrupt"
    QUEUE = "queue"


TITLE_CHARS = 80
TITLE_FROM_CHARS = 2_000
# Markdown's marks: headings, quotations, lists and fences at the beginning of a line, and code anywhere.
MARKDOWN = re.compile(r"^[ \t]*(?:#{1,6}[ \t]+|(?:>[ \t]?)+|[-*+][ \t]+|```[\w+-]*$)|`", re.MULTILINE)
OPENING_TAG = re.compile(r"\s*<([A-Za-z_][\w.:-]*)(?:\s[^<>]*)?>")
BOLD = re.compile(r"(?<!\w)\*\*(\S(?:[^*\n]*\S)?)\*\*(?!\w)")


@dataclass(frozen=True, slots=True)
class RunRequest:
    """One question, before it is accepted.

    With `conversation_id`, `messages` (one, or none to answer the question already stored) go after `parent_id`.
    Without it the question starts a new conversation; a `threaded` call, which resends its history, continues the
    conversation with the longest stored prefix of `messages`. A new conversation belongs to `owner_id`, or else to the
    caller. `prefill` is the text of an answer that was cut off: a streamed answer begins with it and the model
    continues it. `store=False` keeps only the fact that the run happened. If `recall` is None, the conversation's
    setting holds.
    """

    principal: Principal
    model: str
    upstream: str = ""
    """The upstream that will be asked, chosen when the request is submitted."""
    request_id: str = ""
    """The HTTP request's, known when it is submitted."""
    traceparent: str = ""
    """Of the span that its run follows (W3C), known when it is submitted; empty without traces."""
    messages: tuple[Wire, ...] = ()
    parameters: Wire = field(default_factory=dict)
    stream: bool = True
    prefill: str = ""
    conversation_id: uuid.UUID | None = None
    parent_id: uuid.UUID | None = HEAD
    threaded: bool = False
    store: bool = True
    exclusive: bool = True
    when_busy: WhenBusy = WhenBusy.REJECT
    title: str = ""
    owner_id: uuid.UUID | None = None
    end_user: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    recall: Recall | None = None
    generation: ConversationGeneration | None = None
    """How the answer is made where the request does not say so itself; if None, what the conversation keeps holds.

    A new conversation keeps it.
    """
    instructions: str = ""
    """What the model is told before the history, for this answer only: it is sent, and not stored as a message."""
    is_cut_to_fit: bool = True
    """Whether the oldest turns of a conversation are left out if all do not fit."""
    echo: Wire | None = None
    """What the API that took the request shows of it again, stored with the run."""
    native: Wire | None = None
    """The request in its own words, for an upstream with the same API: see `CompletionRequest.native`."""
    embedded: Mapping[str, EmbeddedContent] = field(default_factory=dict)
    """What was taken out of messages that are not stored, by digest."""
    not_kept: str = ""
    """Why the question is not stored although it should be: see `RunHandle.not_kept`."""
    idempotency_key: str = ""
    fingerprint: str = ""
    history: History | None = None
    """For a long call that resends its history: what was looked up before the accept transaction."""

    @property
    def new_messages(self) -> int:
        """Return how many messages will be stored, as far as is known: all of them until the history is looked up."""
        return len(self.messages) - (self.history.stored if self.history else 0) if self.store else 0

    @property
    def choices(self) -> int:
        """Return the number of answers asked for: OpenAI's `n`, which `request_policy.check` limits."""
        return self.parameters.get("n") or 1


@dataclass(frozen=True, slots=True)
class RunHandle:
    """A stored question and the run that answers it. `attached`: an earlier request with the same key asked it.

    `queued`: the run waits for the one before it; no process produces it yet.
    `not_kept` says why a call is answered but not stored, such as "quota"; empty otherwise.
    """

    request: RunRequest
    run_id: uuid.UUID
    created_at: dt.datetime
    conversation_id: uuid.UUID | None = None
    message_id: uuid.UUID | None = None
    question_id: uuid.UUID | None = None
    digest_before: str = ""
    attached: bool = False
    queued: bool = False
    not_kept: str = ""
    recall: Recall | None = None
    rates: tuple[Rate, ...] = ()
    """How much of its limits a minute the caller used, on answers (these included) and on tokens."""

    @property
    def starts_now(self) -> bool:
        """Whether this process begins to produce the answer as soon as the question is stored."""
        return not (self.attached or self.queued)


def title_from(messages: Sequence[Wire]) -> str:
    """Return a title for an untitled conversation: what the user said first, in one line, without Markdown's marks.

    Agents put what they know about their surroundings before it, as one element of markup: that is a title only if
    there is nothing else.
    """
    said = next((text for text in _texts(messages) if not _is_element(text)), None)
    text = (next(_texts(messages), "") if said is None else said).lstrip()[:TITLE_FROM_CHARS]
    line = plain_line(text) or " ".join(text.split())
    return line if len(line) <= TITLE_CHARS else line[: TITLE_CHARS - 1].rstrip() + "…"


def plain_line(text: str) -> str:
    """Return a text in one line, without Markdown's marks."""
    return " ".join(BOLD.sub(r"\1", MARKDOWN.sub("", text)).split())


def _texts(messages: Sequence[Wire]) -> Iterator[str]:
    """Yield the texts of the user's messages, part by part, except empty ones."""
    for wire in messages:
        if wire.get("role") == "user":
            content = wire.get("content")
            parts = content if isinstance(content, list) else [{"text": content}]
            texts = [part.get("text") for part in parts if isinstance(part, Mapping)]
            yield from (text for text in texts if isinstance(text, str) and text.strip())


def _is_element(text: str) -> bool:
    """Tell whether a text is one element of markup from its beginning to its end."""
    if (opened := OPENING_TAG.match(text)) is None:
        return False
    _, closed, after = text.partition(f"</{opened[1]}>")
    return bool(closed) and not after.strip()
