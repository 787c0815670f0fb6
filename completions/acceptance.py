"""Accepting questions: user message, placeholder of the answer, run and idempotency row, all or nothing.

A batch of questions is accepted in one transaction by a handful of statements. Refusals happen before anything is
written, so one bad question never spoils the batch. A long history is already in the staging table (`staging.py`); one
statement moves it from there.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from django.conf import settings
from django.utils import timezone

from completions import queueing, staging
from completions.admission import Admission
from completions.bulk_sql import SHARING_LIMITS, Insert, Update, for_update, key, pipelined, read_key, table
from completions.exceptions import (
    IdempotencyMismatch,
    InvalidRequest,
    Refused,
    StorageFull,
)
from completions.insertion import InsertionPoint, find_insertion_point
from completions.models import IdempotencyKey, Run
from completions.prefixes import Prefixes, is_full, is_threaded
from completions.providers.sanitize import encode_json
from completions.run_requests import RunHandle, RunRequest, WhenBusy, title_from
from completions.storage_limits import StorageLimits, check_new_messages
from completions.types import Wire
from completions.worker_identity import database_time
from conversations import chat_wire, digests
from conversations.chat_wire import Part
from conversations.models import Conversation, Message, MessagePart
from foundation.ids import uuid7

INSERT_CONVERSATION = Insert(
    Conversation,
    *("id", "owner", "title", "end_user", "metadata", "head", "next_position", "stateless"),
    *("created_at", "updated_at", "archived_at"),
)
INSERT_MESSAGE = Insert(
    Message,
    *("id", "conversation", "parent", "position", "role", "content", "has_parts", "author", "model"),
    *("upstream", "status", "finish_reason", "usage", "digest", "created_at"),
)
INSERT_PART = Insert(MessagePart, "message", "position", "kind", "text", "call_id", "name", "data")
INSERT_RUN = Insert(
    Run,
    *("id", "message", "conversation", "user", "address", "api_key_id", "request_id", "upstream", "model"),
    *("parameters", "request", "state", "exclusive", "choices", "epoch", "worker", "lease_until", "created_at"),
    *("finish_reason", "error_code", "error_message", "http_status"),
)
INSERT_KEY = Insert(IdempotencyKey, "user", "key", "fingerprint", "run", "created_at")
MOVE_HEAD = Update(Conversation, "head", "next_position", "updated_at")
MAX_PARAMETER_BYTES = 4_096


@dataclass(slots=True)
class _Rows:
    conversations: list[dict[str, Any]] = field(default_factory=list)
    staged: list[staging.Destination] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    parts: list[dict[str, Any]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    keys: list[dict[str, Any]] = field(default_factory=list)
    moved_keys: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    heads: list[tuple[uuid.UUID, dict[str, Any]]] = field(default_factory=list)
    started: Counter[uuid.UUID] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class _Retry:
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


@dataclass(frozen=True, slots=True)
class _Batch:
    """The data that the questions of one transaction share. `points` are the insertion points used so far."""

    cursor: Any
    admission: Admission
    storage: StorageLimits
    prefixes: Prefixes
    worker: str
    lease_until: float
    now: dt.datetime
    rows: _Rows = field(default_factory=_Rows)
    points: dict[uuid.UUID, InsertionPoint] = field(default_factory=dict)


def accept(cursor: Any, run_requests: Sequence[RunRequest], *, worker: str) -> list[RunHandle | Refused]:
    """Store `run_requests` inside the current transaction; returns the result of each, in the same order."""
    results: list[RunHandle | Refused | None] = [None] * len(run_requests)
    batch = _Batch(
        cursor=cursor,
        admission=Admission(cursor, run_requests),
        storage=StorageLimits(cursor, run_requests),
        prefixes=Prefixes(cursor, run_requests),
        worker=worker,
        lease_until=database_time(cursor) + settings.LEASE_SECONDS,
        now=timezone.now(),
    )
    # All processes use the same order, so that two of them never wait for each other's conversations.
    for index in sorted(range(len(run_requests)), key=lambda index: str(run_requests[index].conversation_id or "~")):
        request = run_requests[index]
        try:
            known = _known_key(batch, request)
            results[index] = known if isinstance(known, RunHandle) else _accept_one(batch, request, known)
        except Refused as refusal:
            results[index] = refusal
    batch.admission.close()
    batch.storage.close()
    _write(cursor, batch.rows)
    return results  # type: ignore[return-value]


def _accept_one(batch: _Batch, request: RunRequest, retry: _Retry | None) -> RunHandle:
    """Add the rows of one question to the batch, or raise Refused and add none."""
    rows, now = batch.rows, batch.now
    batch.admission.check(request, waits=request.when_busy != WhenBusy.REJECT)
    run_id = uuid7()
    run = {
        "id": run_id,
        "user": request.principal.user_id,
        "address": request.principal.limit_key if request.principal.has_guest_limits else "",
        "api_key_id": request.principal.key_id,
        "request_id": request.request_id,
        "upstream": request.upstream,
        "model": request.model[:200],
        "parameters": _small(request.parameters),
        "state": Run.State.RUNNING,
        "exclusive": request.exclusive,
        "choices": request.choices,
        "worker": batch.worker,
        "lease_until": batch.lease_until,
        "created_at": now,
        "message": None,
        "conversation": None,
    }
    if not request.store:
        return _accept_unkept(batch, request, run, retry)

    place = retry.place_of(request) if retry is not None else request
    point, messages = find_insertion_point(batch.cursor, place, batch.prefixes, batch.points)
    if not point.replaces_full:
        check_new_messages(len(messages))
    try:
        batch.storage.check(request, point.owner_id, len(messages))
    except StorageFull:
        if not is_threaded(request):
            raise
        return _accept_unkept(batch, replace(request, store=False), run, retry, not_kept="quota")
    if not request.threaded and is_full(point.next_position, new=len(messages), sent=len(messages)):
        limit = settings.LIMIT_MESSAGES_PER_CONVERSATION
        raise InvalidRequest(f"A conversation holds at most {limit} messages (LIMIT_MESSAGES_PER_CONVERSATION).")
    if point.is_new and not request.threaded:
        _refuse_when_full(batch.cursor, request, rows)
    waits = request.exclusive and not point.is_new and _must_wait(batch.cursor, request, point, rows)
    if not waits:
        batch.admission.check(request)

    # Nothing is refused after this point.
    question_id, digest = _add_messages(batch, request, point, messages)
    answer_id = uuid7()
    rows.messages.append(
        {
            "id": answer_id,
            "conversation": point.conversation_id,
            "parent": question_id,
            "position": point.next_position,
            "role": Message.Role.ASSISTANT,
            "content": "",
            "model": request.model[:200],
            "upstream": request.upstream[:100],
            "status": Message.Status.IN_PROGRESS,
            "created_at": now,
        }
    )
    point.next_position += 1
    head = {"head": answer_id, "next_position": point.next_position, "updated_at": now}
    if point.is_new and point.conversation_id not in batch.points:
        rows.started[request.principal.counted_id] += not request.threaded
        rows.conversations.append(
            {
                "id": point.conversation_id,
                "owner": request.owner_id or request.principal.user_id,
                "title": request.title or title_from(messages),
                "end_user": request.end_user[:200],
                "metadata": dict(request.metadata),
                "stateless": request.threaded,
                "created_at": now,
                **head,
            }
        )
    else:
        rows.heads.append((point.conversation_id, head))
    batch.points[point.conversation_id] = point
    batch.admission.admitted(request, waits=waits)
    batch.storage.admitted(request, point.owner_id, len(messages))
    handle = RunHandle(
        request=request,
        run_id=run_id,
        created_at=now,
        conversation_id=point.conversation_id,
        message_id=answer_id,
        question_id=question_id,
        digest_before=digest,
        recall=point.recall if request.recall is None else request.recall,
        queued=waits,
        starts=batch.admission.starts(request),
    )
    run |= {"message": answer_id, "conversation": point.conversation_id}
    rows.runs.append(run | queueing.waiting_row(handle) if waits else run)
    _remember_key(request, rows, run_id, now, retry)
    return handle


def _accept_unkept(
    batch: _Batch, request: RunRequest, run: dict[str, Any], retry: _Retry | None, *, not_kept: str = ""
) -> RunHandle:
    """Add only the run: nothing of the request is stored, not even its parameters."""
    batch.admission.admitted(request)
    batch.rows.runs.append({**run, "parameters": {}})
    _remember_key(request, batch.rows, run["id"], batch.now, retry)
    starts = batch.admission.starts(request)
    return RunHandle(
        request=request, run_id=run["id"], created_at=batch.now, recall=request.recall, starts=starts, not_kept=not_kept
    )


def _add_messages(
    batch: _Batch, request: RunRequest, point: InsertionPoint, messages: Sequence[Wire]
) -> tuple[uuid.UUID | None, str]:
    """Add the rows of new messages; returns the last one's id and digest."""
    if request.history is not None and request.history.staged_ids and messages:
        first = len(request.messages) - len(messages)
        batch.rows.staged.append(
            staging.Destination(first, point.conversation_id, point.parent_id, point.next_position, batch.now)
        )
        point.next_position += len(messages)
        return request.history.staged_ids[-1], request.history.digests[-1]
    last_id, digest = point.parent_id, point.digest
    for wire in messages:
        digest = digests.follow(digest, wire) if digest else ""
        pk = uuid7()
        row, parts = message_rows(wire, pk, point.conversation_id, last_id, point.next_position, digest, batch.now)
        batch.rows.messages.append(row)
        batch.rows.parts += parts
        last_id = pk
        point.next_position += 1
    return last_id, digest


def _small(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters to store with a run: long ones, such as tool schemas, are left out."""
    if len(encode_json(parameters)) <= MAX_PARAMETER_BYTES:
        return dict(parameters)
    kept, left = {}, MAX_PARAMETER_BYTES
    for name, value in parameters.items():
        size = len(encode_json({name: value}))
        if size <= left:
            kept[name] = value
            left -= size
    return kept


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
        }
        for position, part in enumerate(parts)
    ]


def _refuse_when_full(cursor: Any, request: RunRequest, rows: _Rows) -> None:
    """Apply the limit on conversations that are opened by hand; those of threaded calls do not count."""
    limit = settings.LIMIT_CONVERSATIONS_PER_USER
    if not limit:
        return
    # The caller's account is counted even if another account owns the conversation: guests write into accounts they
    # created.
    counted_id = request.principal.counted_id
    cursor.execute(
        f"SELECT count(*) FROM {table(Conversation)} WHERE owner_id IN ({SHARING_LIMITS}) "  # noqa: S608
        "AND NOT stateless",
        [key(counted_id)] * 2,
    )
    if cursor.fetchone()[0] + rows.started[counted_id] >= limit:
        raise InvalidRequest(f"An account holds at most {limit} conversations (LIMIT_CONVERSATIONS_PER_USER).")


def _must_wait(cursor: Any, request: RunRequest, point: InsertionPoint, rows: _Rows) -> bool:
    in_batch = [run["state"] for run in rows.runs if run["conversation"] == point.conversation_id]
    return queueing.must_wait(cursor, request, point.conversation_id, in_batch)


def _known_key(batch: _Batch, request: RunRequest) -> RunHandle | _Retry | None:
    """Return the run that this key already started, or how it is retried; raises IdempotencyMismatch."""
    if not request.idempotency_key:
        return None
    cursor, rows, starts = batch.cursor, batch.rows, batch.admission.starts(request)
    for row in (*rows.keys, *(moved for _, moved in rows.moved_keys)):
        if row["user"] == request.principal.user_id and row["key"] == request.idempotency_key:
            if row["fingerprint"] != request.fingerprint:
                raise IdempotencyMismatch
            run = next(run for run in rows.runs if run["id"] == row["run"])
            known = (run["id"], row["created_at"], run["conversation"], run["message"])
            queued = run["state"] == Run.State.QUEUED
            return RunHandle(request, *known, attached=True, queued=queued, starts=starts)
    cursor.execute(
        f"SELECT k.id, k.fingerprint, r.id, r.conversation_id, r.message_id, r.state, r.retryable "  # noqa: S608
        f"FROM {table(IdempotencyKey)} k "
        f"JOIN {table(Run)} r ON r.id = k.run_id WHERE k.user_id = %s AND k.key = %s",
        [key(request.principal.user_id), request.idempotency_key],
    )
    row = cursor.fetchone()
    if row is None:
        return None
    key_id, fingerprint, run_id, conversation_id, message_id, state, retryable = row
    if fingerprint != request.fingerprint:
        raise IdempotencyMismatch
    if retryable:
        retry = _retry(cursor, key_id, run_id, conversation_id, message_id)
        return retry or _known_key(batch, request)  # another retry was faster: join its run
    known = (read_key(run_id), timezone.now(), _uuid_or_none(conversation_id), _uuid_or_none(message_id))
    return RunHandle(request, *known, attached=True, queued=state == Run.State.QUEUED, starts=starts)


def _retry(cursor: Any, key_id: int, run_id: Any, conversation_id: Any, message_id: Any) -> _Retry | None:
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
    return _Retry(key_id, _uuid_or_none(conversation_id), kept)


def _remember_key(request: RunRequest, rows: _Rows, run_id: uuid.UUID, now: dt.datetime, retry: _Retry | None) -> None:
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


def _write(cursor: Any, rows: _Rows) -> None:
    with pipelined():
        INSERT_CONVERSATION.execute(cursor, rows.conversations)
        for destination in rows.staged:
            staging.move(cursor, INSERT_MESSAGE, INSERT_PART, destination)
        INSERT_MESSAGE.execute(cursor, rows.messages)
        INSERT_PART.execute(cursor, rows.parts)
        INSERT_RUN.execute(cursor, rows.runs)
        INSERT_KEY.execute(cursor, rows.keys)
        for key_id, row in rows.moved_keys:
            cursor.execute(
                f"UPDATE {table(IdempotencyKey)} SET run_id = %s WHERE id = %s",  # noqa: S608
                [key(row["run"]), key_id],
            )
        MOVE_HEAD.execute_many(cursor, rows.heads)


def _uuid_or_none(value: Any) -> uuid.UUID | None:
    return None if value is None else read_key(value)
