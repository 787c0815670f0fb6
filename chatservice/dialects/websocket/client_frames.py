"""Parses what a client sends on the websocket into typed frames, and refuses everything else with a clear error.

Pure, except that it reads limits from the settings: ids and their owners are looked up elsewhere.
"""

from __future__ import annotations

import uuid
from typing import Annotated, Any, ClassVar

import msgspec
from django.conf import settings

from accounts.scopes import Scope
from chatservice.dialects.attached_files import MAX_FILES
from chatservice.dialects.json_body import BOM, check_bounds
from chatservice.dialects.problems import BadRequest
from completions.recall import read_recall
from completions.run_requests import WhenBusy

CODE_POINTS_OF_ID = 200
TOO_LARGE = 4413
"""The close code; uvicorn, which knows the limit too, is quicker and says 1009."""
Identifier = Annotated[str, msgspec.Meta(max_length=CODE_POINTS_OF_ID)]


class BadFrame(Exception):
    """A frame that is not valid. `close` is the code to hang up with if it is abuse."""

    def __init__(
        self, message: str, *, code: str = "invalid_frame", frame_id: str | None = None, close: int | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.frame_id = frame_id
        self.close = close


class _Frame(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """`id` is the client's own name for the frame; every reply to it repeats the id. null always means absent.

    `scope` is what a key needs to send it, None if every key may.
    """

    scope: ClassVar[Scope | None]
    id: Identifier | None = None


class Auth(_Frame, frozen=True, kw_only=True, tag="auth"):
    scope: ClassVar[Scope | None] = None
    key: str


class Send(_Frame, frozen=True, kw_only=True, tag="send"):
    scope: ClassVar[Scope | None] = Scope.GENERATE
    content: str
    file_ids: Annotated[list[Identifier], msgspec.Meta(max_length=MAX_FILES)] | None = None
    conversation_id: str | None = None
    parent_id: str | None = None
    title: str | None = None
    model: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | None = None
    temperature: float | None = None
    parameters: dict[str, Any] | None = None
    recall: bool | dict[str, Any] | None = None
    client_id: Annotated[str, msgspec.Meta(pattern=r"^[\x21-\x7e]{1,255}$")] | None = None
    when_busy: WhenBusy | None = None


class Continue(_Frame, frozen=True, kw_only=True, tag="continue"):
    """Continue an answer that was cut off."""

    scope: ClassVar[Scope | None] = Scope.GENERATE
    message_id: str
    model: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | None = None
    parameters: dict[str, Any] | None = None
    client_id: Annotated[str, msgspec.Meta(pattern=r"^[\x21-\x7e]{1,255}$")] | None = None
    when_busy: WhenBusy | None = None


class Stop(_Frame, frozen=True, kw_only=True, tag="stop"):
    scope: ClassVar[Scope | None] = Scope.GENERATE
    run_id: str


class Subscribe(_Frame, frozen=True, kw_only=True, tag="subscribe"):
    scope: ClassVar[Scope | None] = Scope.READ
    run_id: str | None = None
    conversation_id: str | None = None
    cursor: str | None = None
    reasoning: bool | None = None


class Unsubscribe(_Frame, frozen=True, kw_only=True, tag="unsubscribe"):
    scope: ClassVar[Scope | None] = None
    run_id: str


class Ping(_Frame, frozen=True, kw_only=True, tag="ping"):
    scope: ClassVar[Scope | None] = None


ClientFrame = Auth | Send | Continue | Stop | Subscribe | Unsubscribe | Ping
TYPES = ("auth", "send", "continue", "stop", "subscribe", "unsubscribe", "ping")
RESERVED = {"model", "messages", "stream", "stream_options", "store", "recall", "when_busy"}


class _Parameters(msgspec.Struct):
    """The generation parameters whose types we know; the upstream checks the others."""

    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=128)] | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    seed: int | None = None
    top_logprobs: int | None = None
    logprobs: bool | None = None
    parallel_tool_calls: bool | None = None
    metadata: dict[str, Any] | None = None
    logit_bias: dict[str, Any] | None = None
    tools: list[Any] | None = None
    functions: list[Any] | None = None


_decode = msgspec.json.Decoder().decode


def read_frame(text: str | None) -> ClientFrame:
    """Return the frame in `text` (None: it was binary); raises BadFrame."""
    if text is None:
        raise BadFrame("Send text frames, not binary ones.", code="binary_frame")
    limit = settings.LIMIT_WS_FRAME_BYTES
    if limit and len(text) > limit // 4 and len(text.encode(errors="replace")) > limit:
        raise BadFrame(
            f"A frame holds at most {limit} bytes (LIMIT_WS_FRAME_BYTES).", code="frame_too_large", close=TOO_LARGE
        )
    try:
        value = _decode(text.removeprefix(BOM))
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise BadFrame("The frame is not valid JSON.", code="invalid_json") from error
    if not isinstance(value, dict):
        raise BadFrame("A frame is a JSON object.", code="invalid_json")
    try:
        check_bounds(value, texts=True, what="frame")
    except BadRequest as refusal:
        raise BadFrame(refusal.problem.message, code=refusal.problem.code) from refusal
    frame_id = value.get("id")
    if not isinstance(frame_id, str) or len(frame_id) > CODE_POINTS_OF_ID:
        frame_id = None
    if value.get("type") not in TYPES:
        raise BadFrame(f"'type' must be one of {', '.join(TYPES)}.", code="unknown_type", frame_id=frame_id)
    try:
        frame: ClientFrame = msgspec.convert(value, ClientFrame)
        if isinstance(frame, Send):
            check_send(frame)
        elif isinstance(frame, Continue):
            check_parameters(frame.parameters or {})
    except msgspec.ValidationError as error:
        raise BadFrame(f"{error}.", frame_id=frame_id) from error
    except BadFrame as bad:
        bad.frame_id = frame_id
        raise
    return frame


def check_send(frame: Send) -> None:
    """Check what the types cannot express; raises BadFrame or msgspec.ValidationError."""
    if not frame.content.strip() and not frame.file_ids:
        raise BadFrame("'content' is empty, and there are no 'file_ids'.")
    limit = settings.LIMIT_MESSAGE_CHARS
    if limit and len(frame.content) > limit:
        raise BadFrame(f"A message holds at most {limit} characters (LIMIT_MESSAGE_CHARS).", code="message_too_long")
    limit = settings.LIMIT_TITLE_CHARS
    if frame.title and limit and len(frame.title) > limit:
        raise BadFrame(f"A title holds at most {limit} characters (LIMIT_TITLE_CHARS).", code="title_too_long")
    if frame.title is not None and frame.conversation_id is not None:
        raise BadFrame("'title' is for a new conversation; this one has 'conversation_id'.")
    if frame.parent_id is not None and frame.conversation_id is None:
        raise BadFrame("'parent_id' needs a 'conversation_id'.")
    try:
        read_recall(frame.recall)
    except ValueError as error:
        raise BadFrame(f"'recall': {error}") from error
    check_parameters(frame.parameters or {})
    if frame.temperature is not None and "temperature" in (frame.parameters or {}):
        raise BadFrame("'temperature' is given twice.")


def check_parameters(parameters: dict[str, Any]) -> None:
    """Check the generation parameters that we know; raises BadFrame or msgspec.ValidationError."""
    if taken := sorted(RESERVED & parameters.keys()):
        raise BadFrame(f"'{taken[0]}' does not belong into 'parameters'.")
    msgspec.convert(parameters, _Parameters)


def uuid_of(text: str) -> uuid.UUID | None:
    """Return the id in `text`; None if it cannot be one of our ids."""
    try:
        return uuid.UUID(text) if len(text) in (32, 36) else None
    except ValueError:
        return None
