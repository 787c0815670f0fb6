"""Accepting questions: user message, placeholder of the answer, run and idempotency row, all or nothing.

A batch of questions is accepted in one transaction by a handful of statements. Refusals happen before anything is
written, so one bad question never spoils the batch. A long history is already in the staging table (`staging.py`); one
statement moves it from there.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from django.conf import settings
from django.utils import timezone

from completions import queueing, staging
from completions.admission import Admission
from completions.bulk_sql import SHARING_LIMITS, pipelined, table
from completions.context import estimate_tokens
from completions.exceptions import LimitReached, Refused, StorageFull
from completions.idempotency import Retry, known_key, remember_key
from completions.insertion import InsertionPoint, find_insertion_point
from completions.models import Run
from completions.prefixes import Prefixes, is_full, is_threaded
from completions.providers.sanitize import encode_json
from completions.request_policy import refuse_parameters
from completions.rows import Rows, message_rows
from completions.run_metadata import is_metadata, metadata_rows
from completions.run_requests import RunHandle, RunRequest, WhenBusy, title_from
from completions.spending import Spending
from completions.storage_limits import StorageLimits, check_new_messages
from completions.types import Wire
from completions.worker_identity import database_time
from conversations import digests
from conversations.models import Conversation, Message
from conversations.signals import conversations_created
from foundation.ids import uuid7
from foundation.row_sql import key

MAX_PARAMETER_BYTES = 4_096


class Limits(NamedTuple):
    """All limits on the questions of one transaction."""

    spending: Spending
    admission: Admission
    storage: StorageLimits


def limits_on(cursor: Any, run_requests: Sequence[RunRequest], *, ending: Collection[uuid.UUID] = ()) -> Limits:
    """Lock the counters of `run_requests`, and of the runs that end in this transaction, before anything else.

    All processes lock in this order: budgets, answers, rows. PostgreSQL is asked for all of them in one round trip.
    """
    with pipelined() if run_requests else nullcontext():
        return Limits(
            spending=Spending(cursor, run_requests, ending=ending),
            admission=Admission(cursor, run_requests),
            storage=StorageLimits(cursor, run_requests),
        )


@dataclass(frozen=True, slots=True)
class _Batch:
    """The data that the questions of one transaction share. `points` are the insertion points used so far."""

    cursor: Any
    limits: Limits
    prefixes: Prefixes
    worker: str
    lease_until: float
    now: dt.datetime
    rows: Rows = field(default_factory=Rows)
    points: dict[uuid.UUID, InsertionPoint] = field(default_factory=dict)


def accept(
    cursor: Any, run_requests: Sequence[RunRequest], *, worker: str, limits: Limits
) -> list[RunHandle | Refused]:
    """Store `run_requests` inside the current transaction; returns the result of each, in the same order."""
    results: list[RunHandle | Refused | None] = [None] * len(run_requests)
    batch = _Batch(
        cursor=cursor,
        limits=limits,
        prefixes=Prefixes(cursor, run_requests),
        worker=worker,
        lease_until=database_time(cursor) + settings.LEASE_SECONDS,
        now=timezone.now(),
    )
    # All processes use the same order, so that two of them never wait for each other's conversations.
    for index in sorted(range(len(run_requests)), key=lambda index: str(run_requests[index].conversation_id or "~")):
        request = run_requests[index]
        try:
            rates = batch.limits.admission.rates(request) if request.idempotency_key else ()
            known = known_key(batch.cursor, batch.rows, request, rates)
            results[index] = known if isinstance(known, RunHandle) else _accept_one(batch, request, known)
        except Refused as refusal:
            results[index] = refusal
    batch.limits.admission.close()
    batch.limits.storage.close()
    batch.rows.write(cursor, limits.spending.write_reserved)
    if batch.rows.conversations:
        conversations_created.send(Conversation, conversation_ids=[row["id"] for row in batch.rows.conversations])
    return results  # type: ignore[return-value]


def _accept_one(batch: _Batch, request: RunRequest, retry: Retry | None) -> RunHandle:
    """Add the rows of one question to the batch, or raise Refused and add none."""
    rows, now = batch.rows, batch.now
    may_wait = request.when_busy != WhenBusy.REJECT
    batch.limits.admission.check(request, waits=may_wait)
    run_id = uuid7()
    run: dict[str, Any] = {
        "id": run_id,
        "user": request.principal.user_id,
        "address": request.principal.limit_key if request.principal.has_guest_limits else "",
        "api_key_id": request.principal.key_id,
        "request_id": request.request_id,
        "upstream": request.upstream,
        "model": request.model[:200],
        "echo": dict(request.echo) if request.echo is not None else None,
        "state": Run.State.RUNNING,
        "exclusive": request.exclusive,
        "choices": request.choices,
        "input_tokens": sum(map(estimate_tokens, request.messages)),
        "worker": batch.worker,
        "lease_until": batch.lease_until,
        "created_at": now,
        "message": None,
        "conversation": None,
    }
    if not request.store:
        return _accept_unkept(batch, request, run, retry, not_kept=request.not_kept)

    place = retry.place_of(request) if retry is not None else request
    point, messages = find_insertion_point(batch.cursor, place, batch.prefixes, batch.points)
    generation = point.generation if request.generation is None else request.generation
    if generation is not None:  # before anything is reserved: it decides what the answer may cost
        request = generation.applied_to(request)
        refuse_parameters(request.parameters)
    if not point.replaces_full:
        check_new_messages(len(messages))
    try:
        batch.limits.storage.check(request, point.owner_id, len(messages))
    except StorageFull:
        if not is_threaded(request):
            raise
        return _accept_unkept(batch, replace(request, store=False), run, retry, not_kept="quota")
    if not request.threaded and is_full(point.next_position, new=len(messages), sent=len(messages)):
        limit = settings.LIMIT_MESSAGES_PER_CONVERSATION
        raise LimitReached(f"A conversation holds at most {limit} messages (LIMIT_MESSAGES_PER_CONVERSATION).")
    if point.is_new and not request.threaded:
        _refuse_when_full(batch.cursor, request, rows)
    waits = request.exclusive and not point.is_new and _must_wait(batch.cursor, request, point, rows)
    if may_wait and not waits:  # it starts at once, so it counts as running
        batch.limits.admission.check(request)

    recalled = point.recall if request.recall is None else request.recall
    batch.limits.spending.reserve(request, run_id, recalled)

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
                "title_is_provisional": not (request.title or request.threaded),
                "end_user": request.end_user[:200],
                "metadata": dict(request.metadata),
                "generation": (generation.as_json() or None) if generation is not None else None,
                "stateless": request.threaded,
                "created_at": now,
                **head,
            }
        )
    else:
        rows.heads.append((point.conversation_id, head))
    batch.points[point.conversation_id] = point
    batch.limits.admission.admitted(request, waits=waits)
    batch.limits.storage.admitted(request, point.owner_id, len(messages))
    handle = RunHandle(
        request=request,
        run_id=run_id,
        created_at=now,
        conversation_id=point.conversation_id,
        message_id=answer_id,
        question_id=question_id,
        digest_before=digest,
        recall=recalled,
        queued=waits,
        rates=batch.limits.admission.rates(request),
    )
    run |= {
        "message": answer_id,
        "conversation": point.conversation_id,
        "parameters": _small(request.parameters),
    }
    rows.runs.append(run | queueing.waiting_row(handle) if waits else run)
    rows.metadata += metadata_rows(run_id, run["user"], run["parameters"])
    remember_key(request, rows, run_id, now, retry)
    return handle


def _accept_unkept(
    batch: _Batch, request: RunRequest, run: dict[str, Any], retry: Retry | None, *, not_kept: str = ""
) -> RunHandle:
    """Add only the run: nothing of the request is stored, not even its parameters."""
    batch.limits.spending.reserve(request, run["id"], request.recall)
    batch.limits.admission.admitted(request)
    batch.rows.runs.append({**run, "parameters": {}, "echo": None})
    remember_key(request, batch.rows, run["id"], batch.now, retry)
    rates = batch.limits.admission.rates(request)
    return RunHandle(
        request=request, run_id=run["id"], created_at=batch.now, recall=request.recall, rates=rates, not_kept=not_kept
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
        if name == "metadata" and is_metadata(value):  # has a limit of its own
            kept[name] = value
            continue
        size = len(encode_json({name: value}))
        if size <= left:
            kept[name] = value
            left -= size
    return kept


def _refuse_when_full(cursor: Any, request: RunRequest, rows: Rows) -> None:
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
        raise LimitReached(f"An account holds at most {limit} conversations (LIMIT_CONVERSATIONS_PER_USER).")


def _must_wait(cursor: Any, request: RunRequest, point: InsertionPoint, rows: Rows) -> bool:
    in_batch = [run["state"] for run in rows.runs if run["conversation"] == point.conversation_id]
    return queueing.must_wait(cursor, request, point.conversation_id, in_batch)
