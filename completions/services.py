"""Asking, stopping and reaping: what dialects, the consumer and commands call."""

from __future__ import annotations

import datetime as dt
import logging
import time
import uuid
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from accounts.database import database_clock, in_database_thread
from accounts.principal import Principal
from completions import providers, runner
from completions.asks import Accepted, Ask
from completions.exceptions import ShuttingDown, TooManyRuns
from completions.hints import hints
from completions.journal import journal
from completions.live import LIVE
from completions.models import Chunk, IdempotencyKey, Run
from completions.statements import read_key, table
from completions.worker import is_certainly_dead
from conversations import digests
from conversations.models import Message

logger = logging.getLogger(__name__)

_draining_since: float | None = None


def drain() -> float:
    """Accept nothing new from now on; what runs may finish. Returns since when, in monotonic seconds."""
    global _draining_since
    if _draining_since is None:
        _draining_since = time.monotonic()
    return _draining_since


def is_draining() -> bool:
    return _draining_since is not None


async def ask(question: Ask) -> Accepted:
    """Store a question and begin to answer it; raises completions.exceptions.Refused.

    Once this was called, the answer is produced and stored whatever becomes of the caller.
    """
    if is_draining():
        raise ShuttingDown(retry_after=5)
    if settings.LIMIT_RUNS_PER_PROCESS and len(LIVE) >= settings.LIMIT_RUNS_PER_PROCESS:
        raise TooManyRuns("The service is writing as many answers as it can.", retry_after=1)
    return await journal().accept(question, runner.start)


def upstream_for(model: str) -> str:
    """Return the name of the upstream that answers for `model`."""
    provider, _ = providers.provider_for(model)
    return provider.name


async def cancel(run_id: uuid.UUID) -> None:
    """Stop a run, wherever it is produced. One that is over stays as it is."""
    live = LIVE.get(run_id)
    if live is not None:
        live.loop.call_soon_threadsafe(live.cancel)
    await in_database_thread(request_cancel, run_id)
    if live is None:
        hints().tell_cancel(run_id)


def request_cancel(run_id: uuid.UUID) -> None:
    """Leave word for the producing process, which looks several times a second."""
    Run.objects.running().filter(pk=run_id, cancel_requested_at=None).update(cancel_requested_at=timezone.now())


def runs_of(principal: Principal) -> Any:
    """Return the runs that `principal` may follow and stop."""
    if principal.is_guest:
        return Run.objects.filter(user__guest_made=True)
    return Run.objects.filter(user_id=principal.user_id)


def reap() -> int:
    """Mark the runs whose producer is gone `interrupted`, what they said kept; returns how many."""
    reaped = 0
    for run_id in _orphans():
        with transaction.atomic():
            # Not the rows that somebody is writing to right now: their turn comes if they stop.
            run = Run.objects.select_for_update(skip_locked=connection.features.has_select_for_update_skip_locked)
            row = run.filter(pk=run_id, state=Run.State.RUNNING).first()
            if row is None or not _is_orphan(row):
                continue
            interrupt(row)
            reaped += 1
    if reaped:
        logger.warning("%d runs without a producer were marked interrupted", reaped)
    return reaped


def prune_chunks() -> int:
    """Drop the pieces of answers finished CHUNK_HOURS ago: their text is in the message; returns how many."""
    before = timezone.now() - dt.timedelta(hours=settings.CHUNK_HOURS)
    old = Run.objects.filter(finished_at__lt=before, chunks__isnull=False).values_list("pk", flat=True).distinct()
    dropped = 0
    # Few at a time: a long delete would keep the writers of a file waiting.
    while batch := list(old[:100]):
        dropped += Chunk.objects.filter(run_id__in=batch).delete()[0]
    return dropped


def prune_keys() -> int:
    """Forget the Idempotency-Keys first used IDEMPOTENCY_DAYS ago; returns how many."""
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
    """Ask again under the lock: a lease may have been renewed while we waited for it."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {database_clock()}")
        return run.lease_until < float(cursor.fetchone()[0]) or is_certainly_dead(run.worker)


def interrupt(run: Run, *, code: str = "interrupted") -> None:
    """End a run that nobody will end any more: partial text into the message, epoch raised."""
    now = timezone.now()
    run.state = Run.State.INTERRUPTED
    run.epoch += 1
    run.error_code = code
    run.error_message = "The answer was interrupted."
    run.http_status = 502
    run.finished_at = now
    run.save(update_fields=["state", "epoch", "error_code", "error_message", "http_status", "finished_at"])
    message = run.message
    if message is None:
        return
    message.content = "".join(Chunk.objects.filter(run_id=run.pk).order_by("seq").values_list("text", flat=True))
    message.status = Message.Status.INTERRUPTED
    before = message.parent.digest if message.parent else digests.root(run.user_id)
    message.digest = digests.follow(before, message.as_wire()) if before else ""
    message.save(update_fields=["content", "status", "digest"])
