"""Encodes events as this dialect's stream: unnamed `data:` lines of `{"type", "data"}`, at the end `[DONE]`. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from chatservice.dialects.base import encode_json
from chatservice.dialects.problems import Problem
from completions.cursors import Cursor
from completions.sse import data_frame
from completions.types import Delta, Resync

DONE = data_frame(b"[DONE]")


class EventStream:
    """Encodes one run. The `id` of each event is the cursor to resume after it."""

    def __init__(self, run_id: uuid.UUID, after: Cursor | None = None) -> None:
        self._cursor = after or Cursor(run_id)

    def user_message(self, message: Mapping[str, Any]) -> bytes:
        return self._frame("user_message", message)

    def conversation_created(self, message: Mapping[str, Any]) -> bytes:
        data = {"conversationId": message["conversation_id"], "userMessage": message}
        return self._frame("conversation_created", data)

    def ai_chunk(self, delta: Delta) -> bytes:
        """Return the frame of a delta; nothing for a delta without text, which this API cannot show."""
        self._cursor = Cursor(self._cursor.run_id, delta.seq, delta.end)
        return self._frame("ai_chunk", delta.text) if delta.text else b""

    def resync(self, event: Resync) -> bytes:
        """Return a frame with the whole text so far, which replaces everything shown before."""
        self._cursor = Cursor(self._cursor.run_id, event.seq, len(event.text))
        return self._frame("resync", event.text)

    def ai_complete(self, message: Mapping[str, Any]) -> bytes:
        return self._frame("ai_complete", message) + DONE

    def error(self, problem: Problem) -> bytes:
        return self._frame("error", {"code": problem.code, "message": problem.message}) + DONE

    def _frame(self, kind: str, data: Any) -> bytes:
        return data_frame(encode_json({"type": kind, "data": data}), event_id=str(self._cursor))
