"""Plain values that travel between dialects, runner, providers and readers.

No Django, no input or output: every class here is frozen, and tests can compare its instances.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

Wire = Mapping[str, Any]
"""A JSON object of the OpenAI wire, kept exactly as it was received."""


class Content(Protocol):
    """`size` bytes, of which `chunks` yields multiples of three but for the last; it may wait for a disk."""

    @property
    def size(self) -> int: ...
    def chunks(self) -> Iterator[bytes]: ...


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """One question to a model, in OpenAI's vocabulary.

    `messages` are wire messages (`role`, `content`, `tool_calls`, ...); `parameters` is the rest of
    the request body (`temperature`, `tools`, `n`, unknown fields too), passed upstream unchanged.
    """

    model: str
    messages: tuple[Wire, ...]
    parameters: Wire = field(default_factory=dict)
    stream: bool = True
    native: Wire | None = None
    """The body of a Responses request, without what says where it is stored and how it is sent; None for others."""
    contents: Mapping[str, Content] = field(default_factory=dict)
    """The content of files, by the marks that stand for their base64 in `messages`."""


@dataclass(frozen=True, slots=True)
class StreamStarted:
    """The upstream began to answer. `envelope` is its first chunk without `choices` and `usage`.

    `upstream` names the one that answered if there were several candidates.
    """

    envelope: Wire = field(default_factory=dict)
    upstream: str = ""


@dataclass(frozen=True, slots=True)
class Delta:
    """The part of an answer that arrived since the last delta.

    `text` is the text of choice 0. `wire` holds the upstream's chunks, in order, whenever `text`
    alone would lose something (tool calls, log probabilities, reasoning, further choices, unknown
    fields); it is empty for plain text. `seq` counts the stored chunks of a run from 1 and `end` is
    the length of the run's text, in code points, after this one; both are 0 until it is stored.
    """

    text: str
    wire: tuple[Wire, ...] = ()
    seq: int = 0
    end: int = 0


@dataclass(frozen=True, slots=True)
class StreamFinished:
    """The upstream finished properly.

    `wire` holds its closing chunks as received (finish reasons, then usage), `usage` is the OpenAI usage object of the
    last chunk that had one.
    """

    finish_reason: str
    usage: Wire | None = None
    wire: tuple[Wire, ...] = ()


ProviderEvent = StreamStarted | Delta | StreamFinished


@dataclass(frozen=True, slots=True)
class Completion:
    """The answer to a request that was not streamed: the upstream's JSON body, in OpenAI's shape.

    There is at least one choice, content is text or None, and a finish reason that was not given is None.
    `upstream` names the one that answered if there were several candidates.
    """

    response: Wire
    upstream: str = ""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One model a provider can answer with. `created` is in Unix seconds."""

    id: str
    owned_by: str
    created: int = 0


@dataclass(frozen=True, slots=True)
class Resync:
    """The reader's cursor could not be used: this is the whole text so far, to start again from."""

    text: str
    seq: int


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The one terminal event of a run.

    `status` is the message's: complete, cancelled, interrupted or failed. `wire` holds the upstream's closing chunks,
    `response` its whole body if the answer was not streamed. `recalled` names the messages that were quoted to the
    model; None if recall was not requested. `retryable`: it failed before the upstream sent anything, so the same
    question may be asked again. `empty_reason` says why a complete answer has no text: see
    `conversations/empty_answers.py`. `cost` is in millionths of the currency, None without a known price.
    """

    status: str
    finish_reason: str | None = None
    usage: Wire | None = None
    error_code: str = ""
    error_message: str = ""
    http_status: int = 200
    retry_after: int | None = None
    wire: tuple[Wire, ...] = ()
    response: Wire | None = None
    param: str | None = None
    end: int = 0
    recalled: tuple[Wire, ...] | None = None
    retryable: bool = False
    empty_reason: str | None = None
    finished_at: dt.datetime | None = None
    cost: int | None = None


FINISHED_WELL = ("complete", "cancelled")
"""The statuses of `RunFinished` that its user wished for."""

ReaderEvent = StreamStarted | Delta | Resync | RunFinished


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Nothing has happened for a while: the reader can use it to keep the connection alive."""


HEARTBEAT = Heartbeat()


def plain_chunk(text: str) -> Wire:
    """Return the OpenAI chunk that contains `text` and nothing else."""
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}


def merge(deltas: Sequence[Delta]) -> Delta:
    """Return one delta with the content of all `deltas`, at the position of the last one."""
    last = deltas[-1]
    if len(deltas) == 1:
        return last
    text = "".join([delta.text for delta in deltas])
    wire: list[Wire] = []
    if any(delta.wire for delta in deltas):
        for delta in deltas:
            wire.extend(delta.wire or ((plain_chunk(delta.text),) if delta.text else ()))
    return Delta(text, tuple(wire), last.seq, last.end)


def join(deltas: Sequence[Delta]) -> list[Delta]:
    """Return all `deltas` as one."""
    return [merge(deltas)]


# Roughly the largest content of a frame: for a reader that stopped reading, only one frame is kept in memory.
MAX_CHARS = 8_000
CHARS_OF_WIRE = 200


def portion(deltas: Sequence[Delta]) -> list[Delta]:
    """Return the first of `deltas`, as many as fit into a frame, but at least one."""
    size = 0
    for count, delta in enumerate(deltas):
        size += len(delta.text) + CHARS_OF_WIRE * len(delta.wire)
        if size > MAX_CHARS:
            return list(deltas[: max(1, count)])
    return list(deltas)


def portions(deltas: Sequence[Delta]) -> list[Delta]:
    """Return the content of `deltas` in as few deltas as fit into frames; only plain text is split."""
    short: list[Delta] = []
    for delta in deltas:
        if delta.wire or len(delta.text) <= MAX_CHARS:
            short.append(delta)
        else:
            parts = [delta.text[at : at + MAX_CHARS] for at in range(0, len(delta.text), MAX_CHARS)]
            short += [Delta(part, (), delta.seq, delta.end) for part in parts]
    merged = []
    at = 0
    while at < len(short):
        some = portion(short[at : at + MAX_CHARS])
        merged.append(merge(some))
        at += len(some)
    return merged
