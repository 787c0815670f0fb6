"""Idempotency keys inside the accept transaction: a known key joins its run, or starts anew where that cost nothing."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass, replace
from typing import Any

from accounts.throttling import Rate
from completions.bulk_sql import table
from completions.exceptions import IdempotencyMismatch
from completions.models import IdempotencyKey, Run
from completions.rows import Rows
from completions.run_requests import RunHandle, RunRequest
from conversations.models import Message
from foundation.row_sql import for_update, key, read_key, read_time


@dataclass(frozen=True, slots=True)
class Retry:
    """A key whose run failed before the upstream sent anything: from now on the key names a new run.

    The new run answers the question of the failed one, if it still exists, so the question is not stored twice.
    """

    key_id: int
    conversation_id: uuid.UUID | None
    question_id: uuid.UUID | None

    def place_of(self, request: RunRequest) -> RunRequest:
        """Return the request that says where the answer goes; what is sent upstream does not change."""
        if self.question_id is None:
            return request
        return replace(request, conversation_id=self.conversation_id, parent_id=self.question_id, messages=())


def known_key(cursor: Any, rows: Rows, request: RunRequest, rates: tuple[Rate, ...]) -> RunHandle | Retry | None:
    """Return the run that this key already started, or how it is retried; raises IdempotencyMismatch."""
    if not request.idempotency_key:
        return None
    for row in (*rows.keys, *(moved for _, moved in rows.moved_keys)):
        if row["user"] == request.principal.user_id and row["key"] == request.idempotency_key:
            if row["fingerprint"] != request.fingerprint:
                raise IdempotencyMismatch
            run = next(run for run in rows.runs if run["id"] == row["run"])
            known = (run["id"], row["created_at"], run["conversation"], run["message"])
            queued = run["state"] == Run.State.QUEUED
            return RunHandle(request, *known, attached=True, queued=queued, rates=rates)
    cursor.execute(
        f"SELECT k.id, k.fingerprint, r.id, r.conversation_id, r.message_id, r.state, "  # noqa: S608
        "r.retryable, r.created_at "
        f"FROM {table(IdempotencyKey)} k "
        f"JOIN {table(Run)} r ON r.id = k.run_id WHERE k.user_id = %s AND k.key = %s",
        [key(request.principal.user_id), request.idempotency_key],
    )
    row = cursor.fetchone()
    if row is None:
        return None
    key_id, fingerprint, run_id, conversation_id, message_id, state, retryable, began = row
    if fingerprint != request.fingerprint:
        raise IdempotencyMismatch
    if retryable:
        retry = _retry(cursor, key_id, run_id, conversation_id, message_id)
        return retry or known_key(cursor, rows, request, rates)  # another retry was faster: join its run
    known = (read_key(run_id), read_time(began), _uuid_or_none(conversation_id), _uuid_or_none(message_id))
    return RunHandle(request, *known, attached=True, queued=state == Run.State.QUEUED, rates=rates)


def _retry(cursor: Any, key_id: int, run_id: Any, conversation_id: Any, message_id: Any) -> Retry | None:
    """Return how a key whose run is retryable starts anew; None if the key names another run by now."""
    # Locked: the second of two concurrent retries waits here for the commit of the first.
    cursor.execute(
        f"SELECT run_id FROM {table(IdempotencyKey)} WHERE id = %s{for_update()}",  # noqa: S608
        [key_id],
    )
    if cursor.fetchone() != (run_id,):
        return None
    cursor.execute(
        f"SELECT q.id, q.role FROM {table(Message)} a JOIN {table(Message)} q ON q.id = a.parent_id "  # noqa: S608
        "WHERE a.id = %s",
        [message_id],
    )
    question_id, role = cursor.fetchone() or (None, "")
    # If the question was deleted, the answer's parent is the answer before it.
    kept = None if role == Message.Role.ASSISTANT else _uuid_or_none(question_id)
    return Retry(key_id, _uuid_or_none(conversation_id), kept)


def remember_key(request: RunRequest, rows: Rows, run_id: uuid.UUID, now: dt.datetime, retry: Retry | None) -> None:
    if not request.idempotency_key:
        return
    row = {
        "user": request.principal.user_id,
        "key": request.idempotency_key,
        "fingerprint": request.fingerprint,
        "run": run_id,
        "created_at": now,
    }
    if retry is None:
        rows.keys.append(row)
    else:
        rows.moved_keys.append((retry.key_id, row))


def _uuid_or_none(value: Any) -> uuid.UUID | None:
    return None if value is None else read_key(value)
