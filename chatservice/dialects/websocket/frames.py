"""The websocket's frames: the events of the v1 document's stream, plus run, conversation and cursor. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from chatservice.dialects.attached_files import AttachedFile
from chatservice.dialects.costs import cost_of
from chatservice.dialects.problems import with_request_id
from completions.cursors import Cursor
from completions.types import FINISHED_WELL, Delta, Resync, RunFinished
from conversations.finish_reasons import shown
from conversations.models import Message

_encode = msgspec.json.Encoder(enc_hook=str).encode


@dataclass(frozen=True, slots=True)
class RelayedRun:
    """A run that a socket follows. `frame_id` is the client's id of the frame that asked for it."""

    run_id: uuid.UUID
    conversation_id: uuid.UUID | None
    message_id: uuid.UUID | None
    frame_id: str | None = None

    def frame(self, kind: str, data: Any, at: Cursor) -> str:
        place = {"run_id": self.run_id, "conversation_id": self.conversation_id, "cursor": str(at)}
        return encode_frame(kind, data, frame_id=self.frame_id, **place)


def encode_frame(kind: str, data: Any = None, *, frame_id: str | None = None, **fields: Any) -> str:
    """Return a frame's text; fields that are None are left out. Errors name the request, those of a run the run."""
    frame: dict[str, Any] = {"type": kind}
    if frame_id is not None:
        frame["id"] = frame_id
    frame.update({name: value for name, value in fields.items() if value is not None})
    if data is not None:
        frame["data"] = with_request_id(data) if kind == "error" and "run_id" not in frame else data
    return _encode(frame).decode()


def error_data(code: str, message: str, retry_after: int | None = None) -> dict[str, Any]:
    """Return the data of an error frame; `retry_after` is in seconds."""
    data: dict[str, Any] = {"code": code, "message": message}
    if retry_after is not None:
        data["retry_after"] = retry_after
    return data


def message_data(message: Message, files: Sequence[AttachedFile]) -> dict[str, Any]:
    """Return a message in the shape of the v1 document; its parts must be loaded."""
    data = {
        "id": message.pk,
        "conversation_id": message.conversation_id,
        "role": message.role,
        "content": message.content,
        "files": files,
        "model": message.model or None,
        "status": message.status,
        "finish_reason": shown(message.finish_reason),
        "usage": message.usage,
        "parent_id": message.parent_id,
        "created_at": message.created_at,
    }
    reason = message.empty_reason
    return data if reason is None else {**data, "empty_reason": reason}


def question_frame(relayed: RelayedRun, question: Mapping[str, Any], *, is_new: bool) -> str:
    """Return the frame that confirms that the question, and with `is_new` its conversation, is stored."""
    at = Cursor(relayed.run_id)
    if is_new:
        data = {"conversationId": question["conversation_id"], "userMessage": question}
        return relayed.frame("conversation_created", data, at)
    return relayed.frame("user_message", question, at)


def text_frame(relayed: RelayedRun, event: Delta | Resync, at: Cursor) -> str:
    """Return the frame with the new text that ends at `at` or, for a resync, with all text up to there."""
    return relayed.frame("resync" if isinstance(event, Resync) else "ai_chunk", event.text, at)


def end_frame(relayed: RelayedRun, finished: RunFinished, answer: Mapping[str, Any] | None, at: Cursor) -> str:
    """Return the one terminal frame. `answer` is the stored message, None if it was deleted."""
    if finished.status in FINISHED_WELL:
        if answer is None:
            return relayed.frame("error", error_data("deleted", "The conversation was deleted."), at)
        recalled = {} if finished.recalled is None else {"recalled": finished.recalled}
        return relayed.frame("ai_complete", {**answer, **recalled, **cost_of(finished)}, at)
    code = finished.error_code or "interrupted"
    message = finished.error_message or "The answer was interrupted."
    return relayed.frame("error", error_data(code, message, finished.retry_after), at)
