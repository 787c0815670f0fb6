"""The rows that one transaction of questions adds, and the statements that write them."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from completions import staging
from completions.bulk_sql import Insert, Update, pipelined, table
from completions.models import IdempotencyKey, Run, RunMetadata
from completions.types import Wire
from conversations import chat_wire
from conversations.chat_wire import Part
from conversations.models import Conversation, Message, MessagePart
from foundation.row_sql import key

INSERT_CONVERSATION = Insert(
    Conversation,
    *("id", "owner", "title", "title_is_provisional", "end_user", "metadata", "generation", "head", "next_position"),
    *("stateless", "created_at", "updated_at", "archived_at"),
)
INSERT_MESSAGE = Insert(
    Message,
    *("id", "conversation", "parent", "position", "role", "content", "has_parts", "author", "model"),
    *("upstream", "status", "finish_reason", "usage", "digest", "created_at"),
)
INSERT_PART = Insert(MessagePart, "message", "position", "kind", "text", "call_id", "name", "data", "file")
INSERT_RUN = Insert(
    Run,
    *("id", "message", "conversation", "user", "address", "api_key_id", "request_id", "upstream", "model"),
    *("parameters", "request", "echo", "state", "exclusive", "choices", "epoch", "worker", "lease_until", "created_at"),
    *("finish_reason", "error_code", "error_message", "http_status", "input_tokens"),
)
INSERT_METADATA = Insert(RunMetadata, "run", "user_id", "key", "value")
INSERT_KEY = Insert(IdempotencyKey, "user", "key", "fingerprint", "run", "created_at")
MOVE_HEAD = Update(Conversation, "head", "next_position", "updated_at")


@dataclass(slots=True)
class Rows:
    conversations: list[dict[str, Any]] = field(default_factory=list)
    staged: list[staging.Destination] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    parts: list[dict[str, Any]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    metadata: list[dict[str, Any]] = field(default_factory=list)
    keys: list[dict[str, Any]] = field(default_factory=list)
    moved_keys: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    heads: list[tuple[uuid.UUID, dict[str, Any]]] = field(default_factory=list)
    started: Counter[uuid.UUID] = field(default_factory=Counter)

    def write(self, cursor: Any, beside: Callable[[], None]) -> None:
        """Write all of them: parents before children, in one round trip where the database can, with `beside`."""
        with pipelined():
            INSERT_CONVERSATION.execute(cursor, self.conversations)
            for destination in self.staged:
                staging.move(cursor, INSERT_MESSAGE, INSERT_PART, destination)
            INSERT_MESSAGE.execute(cursor, self.messages)
            INSERT_PART.execute(cursor, self.parts)
            INSERT_RUN.execute(cursor, self.runs)
            INSERT_METADATA.execute(cursor, self.metadata)
            INSERT_KEY.execute(cursor, self.keys)
            for key_id, row in self.moved_keys:
                cursor.execute(
                    f"UPDATE {table(IdempotencyKey)} SET run_id = %s WHERE id = %s",  # noqa: S608
                    [key(row["run"]), key_id],
                )
            MOVE_HEAD.execute_many(cursor, self.heads)
            beside()


def message_rows(
    wire: Wire,
    pk: uuid.UUID,
    conversation_id: uuid.UUID | None,
    parent_id: uuid.UUID | None,
    position: int,
    digest: str,
    now: dt.datetime,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the rows of a message and of its parts."""
    role, content, author, parts = chat_wire.split(wire)
    row = {
        "id": pk,
        "conversation": conversation_id,
        "parent": parent_id,
        "position": position,
        "role": role,
        "content": content,
        "has_parts": bool(parts),
        "author": author,
        "digest": digest,
        "created_at": now,
    }
    return row, part_rows(pk, parts)


def part_rows(message_id: uuid.UUID, parts: Sequence[Part]) -> list[dict[str, Any]]:
    return [
        {
            "message": message_id,
            "position": position,
            "kind": part.kind,
            "text": part.text,
            "call_id": part.call_id,
            "name": part.name,
            "data": part.data,
            "file": part.file_id,
        }
        for position, part in enumerate(parts)
    ]
