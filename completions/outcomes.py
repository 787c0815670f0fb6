"""Storing what a run says and how it ends, fenced: a process that lost a run cannot write into it."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.utils import timezone

from accounts.models import uuid7
from completions.acceptance import INSERT_MESSAGE
from completions.models import Chunk, Run
from completions.statements import Insert, Update, for_update, key, read_key, table
from completions.types import Delta, Wire
from conversations import digests
from conversations.models import Conversation, Message

MOST_NAMED = 50
INSERT_CHUNK = Insert(Chunk, "run", "seq", "end", "text", "wire")
FINISH_RUN = Update(
    Run,
    *("state", "upstream", "usage", "finish_reason", "error_code", "error_message", "http_status"),
    *("envelope", "closing", "recalled", "first_token_at", "finished_at"),
    condition="worker = %s AND state = 'running'",
)
FINISH_MESSAGE = Update(Message, "content", "parts", "status", "finish_reason", "usage", "model", "upstream", "digest")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. `content` and `parts` are the whole answer; `siblings` further choices of it."""

    run_id: uuid.UUID
    message_id: uuid.UUID | None
    conversation_id: uuid.UUID | None
    status: str
    content: str = ""
    parts: Mapping[str, Any] | None = None
    siblings: tuple[Wire, ...] = ()
    finish_reason: str = ""
    usage: Wire | None = None
    upstream: str = ""
    model: str = ""
    envelope: Wire | None = None
    closing: tuple[Wire, ...] = ()
    recalled: tuple[Wire, ...] | None = None
    error_code: str = ""
    error_message: str = ""
    http_status: int = 200
    digest_before: str = ""
    first_token_at: dt.datetime | None = None
    finished_at: dt.datetime = field(default_factory=timezone.now)


def still_ours(cursor: Any, run_ids: Collection[uuid.UUID], *, worker: str, lock: str = "KEY SHARE") -> set[uuid.UUID]:
    """Return those of `run_ids` that `worker` may still write to, locked against the reaper."""
    if not run_ids:
        return set()
    # Of many, all that are ours: cheaper than naming each.
    named = list(run_ids) if len(run_ids) <= MOST_NAMED else []
    names = f" AND id IN ({', '.join(['%s'] * len(named))})" if named else ""
    cursor.execute(
        f"SELECT id FROM {table(Run)} WHERE worker = %s AND state = 'running'{names}{for_update(lock)}",  # noqa: S608
        [worker, *map(key, named)],
    )
    return {read_key(row[0]) for row in cursor.fetchall()}


def record(cursor: Any, pieces: Sequence[tuple[uuid.UUID, Delta]], *, worker: str) -> set[uuid.UUID]:
    """Store pieces of many runs; returns the runs that are still ours, whose pieces are now stored."""
    ours = still_ours(cursor, {run_id for run_id, _ in pieces}, worker=worker)
    INSERT_CHUNK.execute(
        cursor,
        [
            {"run": run_id, "seq": piece.seq, "end": piece.end, "text": piece.text, "wire": list(piece.wire) or None}
            for run_id, piece in pieces
            if run_id in ours
        ],
    )
    return ours


def finish(cursor: Any, outcomes: Sequence[Outcome], *, worker: str) -> list[bool]:
    """Write the ends of runs; returns for each whether the run was still ours: else nothing was written."""
    ours = still_ours(cursor, {outcome.run_id for outcome in outcomes}, worker=worker, lock="NO KEY UPDATE")
    written = [outcome for outcome in outcomes if outcome.run_id in ours]
    FINISH_RUN.execute_many(cursor, [(outcome.run_id, _run_values(outcome)) for outcome in written], worker)
    kept = [outcome for outcome in written if outcome.message_id is not None]
    FINISH_MESSAGE.execute_many(cursor, [(outcome.message_id, _message_values(outcome)) for outcome in kept])
    for outcome in kept:
        if outcome.siblings:
            _add_siblings(cursor, outcome)
    return [outcome.run_id in ours for outcome in outcomes]


def _run_values(outcome: Outcome) -> dict[str, Any]:
    return {
        "state": outcome.status,
        "upstream": outcome.upstream[:100],
        "usage": outcome.usage,
        "finish_reason": outcome.finish_reason[:40],
        "error_code": outcome.error_code,
        "error_message": outcome.error_message[:600],
        "http_status": outcome.http_status,
        "envelope": outcome.envelope,
        "closing": list(outcome.closing) or None,
        "recalled": list(outcome.recalled) if outcome.recalled is not None else None,
        "first_token_at": outcome.first_token_at,
        "finished_at": outcome.finished_at,
    }


def _message_values(outcome: Outcome) -> dict[str, Any]:
    before = outcome.digest_before
    return {
        "content": outcome.content,
        "parts": outcome.parts,
        "status": outcome.status,
        "finish_reason": outcome.finish_reason[:40],
        "usage": outcome.usage,
        "model": outcome.model[:200],
        "upstream": outcome.upstream[:100],
        "digest": digests.follow(before, answer_wire(outcome.content, outcome.parts)) if before else "",
    }


def answer_wire(content: str, parts: Mapping[str, Any] | None) -> Wire:
    return {"role": "assistant", "content": content, **(parts or {})}


def _add_siblings(cursor: Any, outcome: Outcome) -> None:
    """Store the further choices of an answer beside it; the first stays the one that is shown."""
    cursor.execute(
        f"SELECT next_position FROM {table(Conversation)} WHERE id = %s{for_update('NO KEY UPDATE')}",  # noqa: S608
        [key(outcome.conversation_id)],
    )
    position = cursor.fetchone()[0]
    cursor.execute(f"SELECT parent_id FROM {table(Message)} WHERE id = %s", [key(outcome.message_id)])  # noqa: S608
    parent_id = read_key(cursor.fetchone()[0])
    rows = []
    for offset, wire in enumerate(outcome.siblings):
        parts = {name: value for name, value in wire.items() if name not in ("role", "content", "finish_reason")}
        content = wire.get("content") or ""
        before = outcome.digest_before
        rows.append(
            {
                "id": uuid7(),
                "conversation": outcome.conversation_id,
                "parent": parent_id,
                "position": position + offset,
                "role": Message.Role.ASSISTANT,
                "content": content,
                "parts": parts or None,
                "model": outcome.model[:200],
                "upstream": outcome.upstream[:100],
                "status": outcome.status,
                "finish_reason": str(wire.get("finish_reason") or "")[:40],
                "digest": digests.follow(before, answer_wire(content, parts)) if before else "",
                "created_at": outcome.finished_at,
            }
        )
    INSERT_MESSAGE.execute(cursor, rows)
    cursor.execute(
        f"UPDATE {table(Conversation)} SET next_position = %s WHERE id = %s",  # noqa: S608
        [position + len(rows), key(outcome.conversation_id)],
    )
