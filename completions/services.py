"""Starts, stops and reaps runs: called by dialects and commands."""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import logging
import time
import uuid
from contextvars import ContextVar
from dataclasses import replace

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from completions import long_histories, providers, queueing, request_policy, runner
from completions.bulk_sql import table
from completions.charges import charge_interrupted, columns
from completions.embedded_content import accept_without_content
from completions.exceptions import ShuttingDown, TooManyRuns
from completions.live import LIVE
from completions.models import Chunk, IdempotencyKey, Run
from completions.notifications import notifications
from completions.run_requests import RunHandle, RunRequest
from completions.signals import (
    EndedRun,
    run_finished,
    run_reaped,
    run_submission_ended,
    run_submitted,
    runs_ended,
)
from completions.spending import lock_reservations, settle
from completions.worker_identity import is_certainly_dead
from conversations import digests
from conversations.models import Message
from foundation.database import database_clock, in_database_thread
from foundation.logs.context import current
from foundation.row_sql import read_key

logger = logging.getLogger(__name__)

_draining_since: float | None = None
_closed = False
_loop: asyncio.AbstractEventLoop | None = None
# Whether this request may start a run while the process drains: its client could not know of the drain yet.
_admitted: ContextVar[bool] = ContextVar("admitted", default=False)


def drain() -> float:
    """Stop accepting questions; running answers may finish. Returns when the drain began, in monotonic seconds."""
    global _draining_since
    if _draining_since is None:
        _draining_since = time.monotonic()
        queueing.pause()
    return _draining_since


def is_draining() -> bool:
    return _draining_since is not None


def admit() -> None:
    """Let this request ask while the process drains: its client could not know yet when it was sent."""
    _admitted.set(True)


def close() -> None:
    """Accept no more questions at all: the drain is over."""
    global _closed
    _closed = True


async def submit(request: RunRequest) -> RunHandle:
    """Store a question and start to answer it; raises completions.exceptions.Refused.

    After this call the answer is produced and stored whatever happens to the caller.
    """
    given = [answer for _, answer in run_submitted.send_robust(None) if isinstance(answer, str)]
    traceparent, run_id, code = (given or [""])[0], None, ""
    try:
        handle = await _submit(request, traceparent)
        run_id = handle.run_id
        return handle
    except Exception as error:
        code = getattr(error, "code", None) or type(error).__name__
        raise
    finally:
        run_submission_ended.send_robust(None, traceparent=traceparent, run_id=run_id, error_code=code)


async def _submit(request: RunRequest, traceparent: str) -> RunHandle:
    # A request in its own words goes to an upstream that speaks them, with fields that `parameters` lacks.
    await request_policy.check(request.principal, request.model, {**(request.native or {}), **request.parameters})
    if is_draining() and (_closed or not _admitted.get()):
        raise ShuttingDown(retry_after=5)
    limit = settings.LIMIT_RUNS_PER_PROCESS
    if limit and sum(live.handle.request.choices for live in LIVE.values()) + request.choices > limit:
        message = f"At most {limit} answers at once in this process (LIMIT_RUNS_PER_PROCESS)."
        raise TooManyRuns(message, retry_after=1)
    provider, upstream_model = providers.provider_for(request.model)
    start = functools.partial(runner.start, provider=provider, model=upstream_model)
    request_id = current().request_id
    request = replace(request, upstream=provider.name, request_id=request_id, traceparent=traceparent)
    return await accept_without_content(request, lambda each: long_histories.accept_question(each, start))


async def cancel(run_id: uuid.UUID) -> None:
    """Stop a run, whichever process produces it. A run that is over is left unchanged."""
    live = LIVE.get(run_id)
    if live is not None:
        live.loop.call_soon_threadsafe(live.cancel)
    was_queued = await in_database_thread(request_cancel, run_id)
    if was_queued:
        notifications().wake(run_id)
        notifications().notify([run_id])
    elif live is None:
        notifications().notify_cancel(run_id)


def request_cancel(run_id: uuid.UUID) -> bool:
    """Store a request to stop the run; the producing process checks for one several times a second.

    A queued run has no producing process and ends here; only then True is returned.
    """
    if queueing.cancel(run_id):
        return True
    Run.objects.running().filter(pk=run_id, cancel_requested_at=None).update(cancel_requested_at=timezone.now())
    return False


def produce_queued() -> None:
    """Let `start_queued` start runs on the running event loop: this process serves."""
    global _loop
    _loop = asyncio.get_running_loop()


def start_queued() -> int:
    """Start queued runs that no running answer keeps waiting, such as those of a process that died; returns how many.

    Called in a thread; in a process that does not serve, it does nothing.
    """
    limit = settings.LIMIT_RUNS_PER_PROCESS
    free = limit - sum(live.handle.request.choices for live in list(LIVE.values())) if limit else None
    if _loop is None or is_draining() or (free is not None and free <= 0):
        return 0
    handles = queueing.promote_left_behind(free)
    for handle in handles:
        _loop.call_soon_threadsafe(runner.start_queued, handle)
    return len(handles)


def reap() -> int:
    """Mark the runs of dead processes `interrupted`, keeping their text; returns how many."""
    reaped = 0
    for run_id in _orphans():
        with transaction.atomic():
            # Skip rows that are being written right now: if the writing stops, a later sweep finds them.
            if not lock_reservations(run_id):
                continue
            run = Run.objects.select_for_update(skip_locked=connection.features.has_select_for_update_skip_locked)
            row = run.filter(pk=run_id, state=Run.State.RUNNING).first()
            if row is None or not _is_orphan(row):
                continue
            interrupt(row)
        reaped += 1
        run_reaped.send_robust(None, run_id=row.pk)
        run_finished.send_robust(
            None,
            run_id=row.pk,
            model=row.model,
            upstream=row.upstream,
            end=row.state,
            error_code=row.error_code,
            input_tokens=row.input_tokens,
            output_tokens=row.output_tokens,
            cost=row.cost,
            seconds=(timezone.now() - (row.started_at or row.created_at)).total_seconds(),
            first_token_seconds=None,
        )
    if reaped:
        logger.warning("%d runs whose process died were marked as interrupted", reaped)
    return reaped


def prune_chunks() -> int:
    """Delete the chunks of answers finished CHUNK_HOURS ago, whose messages have the text; returns how many.

    Those of a run with an `echo` stay: whoever reads its stream again gets the same events.
    """
    before = timezone.now() - dt.timedelta(hours=settings.CHUNK_HOURS)
    old = Run.objects.filter(finished_at__lt=before, chunks__isnull=False, echo=None).values_list("pk", flat=True)
    old = old.distinct()
    dropped = 0
    # A few at a time: on SQLite a long delete would make other writers wait.
    while batch := list(old[:100]):
        dropped += Chunk.objects.filter(run_id__in=batch).delete()[0]
    return dropped


def prune_keys() -> int:
    """Delete the Idempotency-Keys first used IDEMPOTENCY_DAYS ago; returns how many."""
    before = timezone.now() - dt.timedelta(days=settings.IDEMPOTENCY_DAYS)
    old = IdempotencyKey.objects.filter(created_at__lt=before).values_list("pk", flat=True)
    dropped = 0
    while batch := list(old[:500]):
        dropped += IdempotencyKey.objects.filter(pk__in=batch).delete()[0]
    return dropped


def _orphans() -> list[uuid.UUID]:
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id, worker, lease_until < {database_clock()} FROM {table(Run)} WHERE state = 'running'"  # noqa: S608
        )
        rows = cursor.fetchall()
    return [read_key(pk) for pk, worker, expired in rows if expired or is_certainly_dead(worker)]


def _is_orphan(run: Run) -> bool:
    """Check again under the lock: the lease may have been renewed while we waited for it."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {database_clock()}")
        return run.lease_until < float(cursor.fetchone()[0]) or is_certainly_dead(run.worker)


def interrupt(run: Run, *, code: str = "interrupted") -> None:
    """End a run whose process died: store the partial text in the message, and raise the epoch."""
    now = timezone.now()
    run.state = Run.State.INTERRUPTED
    run.epoch += 1
    run.error_code = code
    run.error_message = "The answer was interrupted."
    run.http_status = 502
    run.finished_at = now
    content = "".join(Chunk.objects.filter(run_id=run.pk).order_by("seq").values_list("text", flat=True))
    charge = charge_interrupted(run, content, now)
    for name, value in columns(charge).items():
        setattr(run, name, value)
    run.save(
        update_fields=[
            *("state", "epoch", "error_code", "error_message", "http_status", "finished_at"),
            *("is_estimate", "cost", "input_tokens", "output_tokens"),
        ]
    )
    settle(run.pk, charge)
    message = run.message
    if message is None:
        return
    runs_ended.send(Run, runs=[EndedRun(run.pk, run.state)])
    message.content = content
    message.status = Message.Status.INTERRUPTED
    before = message.parent.digest if message.parent else digests.root(run.user_id)
    message.digest = digests.follow(before, message.as_wire()) if before else ""
    message.save(update_fields=["content", "status", "digest"])
