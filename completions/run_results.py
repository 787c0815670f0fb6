"""Stores a run's text and how it ended. Writes are fenced: a process that lost a run cannot write into it."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from django.utils import timezone

from completions import queueing
from completions.bulk_sql import Insert, Update, pipelined, table
from completions.charges import Payer, Sent, charge_for, columns
from completions.models import Chunk, Run
from completions.rows import INSERT_MESSAGE, INSERT_PART, part_rows
from completions.run_requests import RunHandle
from completions.signals import EndedRun, runs_ended
from completions.spending import Spending
from completions.token_counts import PATHS, token_counts
from completions.types import Delta, Wire
from conversations import chat_wire, digests
from conversations.empty_answers import empty_reason
from conversations.models import Conversation, Message
from foundation.database import send_statement
from foundation.ids import uuid7
from foundation.row_sql import for_update, key, marks, read_key
from usage.ledger import Charge

MAX_NAMED = 50
INSERT_CHUNK = Insert(Chunk, "run", "seq", "end", "text", "wire")
FINISH_RUN = Update(
    Run,
    *("state", "upstream", "usage", *PATHS, "is_estimate", "cost", "finish_reason", "error_code", "error_message"),
    *("http_status", "envelope", "closing", "recalled", "retryable", "retry_after"),
    *("first_token_at", "first_text_at", "finished_at"),
    condition="worker = %s AND state = 'running'",
)
FINISH_MESSAGE = Update(
    Message, "content", "has_parts", "status", "finish_reason", "usage", "model", "upstream", "digest"
)


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended. `content` and `extras` are the whole answer; `siblings` are its further choices.

    `extras` are the fields of the chat wire besides role and text. `sent` is None if nothing reached an upstream.
    `token_counters` are those of limits in which its tokens count.
    """

    run_id: uuid.UUID
    message_id: uuid.UUID | None
    conversation_id: uuid.UUID | None
    status: str
    content: str = ""
    extras: Mapping[str, Any] | None = None
    siblings: tuple[Wire, ...] = ()
    finish_reason: str = ""
    usage: Wire | None = None
    sent: Sent | None = None
    upstream: str = ""
    model: str = ""
    envelope: Wire | None = None
    closing: tuple[Wire, ...] = ()
    recalled: tuple[Wire, ...] | None = None
    error_code: str = ""
    error_message: str = ""
    http_status: int = 200
    retryable: bool = False
    retry_after: int | None = None
    token_counters: tuple[str, ...] = ()
    digest_before: str = ""
    first_token_at: dt.datetime | None = None
    first_text_at: dt.datetime | None = None
    finished_at: dt.datetime = field(default_factory=timezone.now)

    @property
    def empty_reason(self) -> str | None:
        """Why a complete answer has no text."""
        if self.status != Message.Status.COMPLETE:
            return None
        return empty_reason(answer_wire(self.content, self.extras), self.finish_reason)


class Stored(NamedTuple):
    """The runs that were still ours, and what each result is charged: None where nothing was written.

    `promoted` are the runs that waited for one that ended, by its id.
    """

    ours: set[uuid.UUID]
    charges: list[Charge | None]
    promoted: dict[uuid.UUID, RunHandle]


def store(
    cursor: Any,
    chunks: Sequence[tuple[uuid.UUID, Delta]],
    results: Sequence[RunResult],
    *,
    worker: str,
    spending: Spending,
) -> Stored:
    """Store text of runs, how runs ended, and what these cost, and promote what waits: for runs that are still ours."""
    ending = {result.run_id for result in results}
    with pipelined():
        spending.lock_ending()
        fetch_running = _lock_running({run_id for run_id, _ in chunks} - ending, worker=worker)
        fetch_payers = _lock_payers(ending, worker=worker)
    payers = {
        read_key(run_id): Payer(read_key(user_id), read_key(key_id) if key_id else None, model)
        for run_id, user_id, key_id, model in fetch_payers()
    }
    ours = {read_key(run_id) for (run_id,) in fetch_running()} | payers.keys()
    ended = {each.conversation_id: each.run_id for each in results if each.conversation_id}
    with pipelined():
        INSERT_CHUNK.execute(cursor, [_chunk_row(run_id, chunk) for run_id, chunk in chunks if run_id in ours])
        charges = _finish(cursor, [result for result in results if result.run_id in payers], payers, worker, spending)
        spending.ask_groups()
        fetch_waiting = queueing.waiting_in(ended)
    promoted = queueing.promote_in(fetch_waiting(), ended)
    return Stored(ours, [charges.get(result.run_id) for result in results], promoted)


def _chunk_row(run_id: uuid.UUID, chunk: Delta) -> dict[str, Any]:
    return {"run": run_id, "seq": chunk.seq, "end": chunk.end, "text": chunk.text, "wire": list(chunk.wire) or None}


def _lock_running(run_ids: Collection[uuid.UUID], *, worker: str) -> Callable[[], list[tuple[Any, ...]]]:
    """Lock those of these runs that `worker` may still write to, against the reaper; returns what fetches their ids."""
    if not run_ids:
        return list
    # For many runs, select all that are ours: cheaper than naming each.
    named = list(run_ids) if len(run_ids) <= MAX_NAMED else []
    names = f" AND id IN ({marks(named)})" if named else ""
    return send_statement(
        f"SELECT id FROM {table(Run)} WHERE worker = %s AND state = 'running'{names}"  # noqa: S608
        f"{for_update('KEY SHARE')}",
        [worker, *map(key, named)],
    )


def _lock_payers(run_ids: Collection[uuid.UUID], *, worker: str) -> Callable[[], list[tuple[Any, ...]]]:
    """Lock those of these runs that `worker` may end, as `_lock_running`; the rows say who pays for each."""
    if not run_ids:
        return list
    return send_statement(
        f"SELECT id, user_id, api_key_id, model FROM {table(Run)} "  # noqa: S608
        f"WHERE worker = %s AND state = 'running' AND id IN ({marks(run_ids)}){for_update('NO KEY UPDATE')}",
        [worker, *map(key, run_ids)],
    )


def _finish(
    cursor: Any, results: Sequence[RunResult], payers: Mapping[uuid.UUID, Payer], worker: str, spending: Spending
) -> dict[uuid.UUID, Charge]:
    """Store how runs that are ours ended, and charge them."""
    charges = {result.run_id: charge_for(result, payers[result.run_id]) for result in results}
    FINISH_RUN.execute_many(
        cursor, [(result.run_id, _run_values(result, charges[result.run_id])) for result in results], worker
    )
    for run_id, charge in charges.items():
        spending.settle(run_id, charge)
    kept = [result for result in results if result.message_id is not None]
    if kept:
        runs_ended.send(Run, runs=[EndedRun(each.run_id, each.status, each.finish_reason) for each in kept])
    values, parts = [], []
    for result in kept:
        wire = answer_wire(result.content, result.extras)
        answer = chat_wire.split(wire)
        values.append((result.message_id, _message_values(result, wire, answer)))
        if answer.parts and result.message_id is not None:
            parts += part_rows(result.message_id, answer.parts)
    FINISH_MESSAGE.execute_many(cursor, values)
    INSERT_PART.execute(cursor, parts)
    for result in kept:
        if result.siblings:
            _add_siblings(cursor, result)
    return charges


def _run_values(result: RunResult, charge: Charge) -> dict[str, Any]:
    return {
        "state": result.status,
        "upstream": result.upstream[:100],
        "usage": result.usage,
        **token_counts(result.usage),
        **columns(charge),
        "finish_reason": result.finish_reason[:40],
        "error_code": result.error_code,
        "error_message": result.error_message[:600],
        "http_status": result.http_status,
        "envelope": result.envelope,
        "closing": list(result.closing) or None,
        "recalled": list(result.recalled) if result.recalled is not None else None,
        "retryable": result.retryable,
        "retry_after": result.retry_after,
        "first_token_at": result.first_token_at,
        "first_text_at": result.first_text_at,
        "finished_at": result.finished_at,
    }


def _message_values(result: RunResult, wire: Wire, answer: chat_wire.Split) -> dict[str, Any]:
    before = result.digest_before
    return {
        "content": answer.content,
        "has_parts": bool(answer.parts),
        "status": result.status,
        "finish_reason": result.finish_reason[:40],
        "usage": result.usage,
        "model": result.model[:200],
        "upstream": result.upstream[:100],
        "digest": digests.follow(before, wire) if before else "",
    }


def answer_wire(content: str, extras: Mapping[str, Any] | None) -> Wire:
    return {"role": "assistant", "content": content, **(extras or {})}


def _add_siblings(cursor: Any, result: RunResult) -> None:
    """Store the further choices of an answer as its siblings; the first choice stays the one that is shown."""
    cursor.execute(
        f"SELECT next_position FROM {table(Conversation)} WHERE id = %s{for_update('NO KEY UPDATE')}",  # noqa: S608
        [key(result.conversation_id)],
    )
    position = cursor.fetchone()[0]
    cursor.execute(f"SELECT parent_id FROM {table(Message)} WHERE id = %s", [key(result.message_id)])  # noqa: S608
    parent_id = read_key(cursor.fetchone()[0])
    rows, parts = [], []
    for offset, given in enumerate(result.siblings):
        extras = {name: value for name, value in given.items() if name not in ("role", "content", "finish_reason")}
        wire = answer_wire(given.get("content") or "", extras)
        answer = chat_wire.split(wire)
        pk, before = uuid7(), result.digest_before
        parts += part_rows(pk, answer.parts)
        rows.append(
            {
                "id": pk,
                "conversation": result.conversation_id,
                "parent": parent_id,
                "position": position + offset,
                "role": Message.Role.ASSISTANT,
                "content": answer.content,
                "has_parts": bool(answer.parts),
                "model": result.model[:200],
                "upstream": result.upstream[:100],
                "status": result.status,
                "finish_reason": str(given.get("finish_reason") or "")[:40],
                "digest": digests.follow(before, wire) if before else "",
                "created_at": result.finished_at,
            }
        )
    INSERT_MESSAGE.execute(cursor, rows)
    INSERT_PART.execute(cursor, parts)
    cursor.execute(
        f"UPDATE {table(Conversation)} SET next_position = %s WHERE id = %s",  # noqa: S608
        [position + len(rows), key(result.conversation_id)],
    )
