"""One transaction of the journal: what it stores, in its own thread, and how to find out whether it was committed.

A commit's thread may hang for ever on a silent connection or disk. After SECONDS it is abandoned together with its
connection, and another thread takes over. That is safe whatever happened to the commit:

- If it has not begun, the thread finds out before it commits that the attempt was abandoned, and stops.
- If it has begun, it is in doubt. The next attempt takes locks on the batch's runs, which waits until the old
  transaction has ended, and then looks for any one of its rows: a batch is committed as a whole or not at all. If the
  row is there, the batch is done. If not, it never will be, and text and outcomes are stored again. That cannot store
  anything twice: (run, seq) is unique, and a run that another process took over is no longer ours.
- Questions in doubt are never stored a second time, because the first commit may still arrive later. They are found,
  or refused. One that is refused but arrives later has no producer, so it ends with its lease. A repeated request with
  the same Idempotency-Key joins that run if it exists, and starts a new one if not: one bill in either case.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from django.conf import settings
from django.db import OperationalError, transaction

from accounts.models import User
from completions import run_results, staging, token_rates
from completions.acceptance import accept, limits_on
from completions.bulk_sql import table
from completions.exceptions import StorageUnavailable
from completions.live import LiveRun
from completions.models import Chunk, Run
from completions.rows import INSERT_MESSAGE, INSERT_PART
from completions.run_requests import RunHandle, RunRequest
from completions.run_results import RunResult
from completions.types import Delta
from completions.worker_identity import worker_id
from foundation.database import (
    StorageError,
    database_clock,
    discard_connection,
    limit_transactions,
    prepared_cursor,
    time_limit,
)
from foundation.outages import code_of, is_passing
from foundation.row_sql import for_update, key, marks, read_key
from foundation.threads import DaemonThreads
from usage.ledger import Charge

SECONDS = 6.0
"""The limit for one attempt: after one that hangs, the next one and a heartbeat come before the end of a lease that was
renewed a heartbeat before."""
THREAD_SHARE = 0.85
"""The thread itself gets a little less time, so that it usually ends by itself."""
MAX_ABANDONED = 4
RETRY_AFTER = 5
# Timeouts of locks and statements, and deadlocks: the database is up, and the batch's other parts may succeed.
OWN_FAULT = {"55P03", "57014", "40P01", "40001"}


T = TypeVar("T")
Entry = tuple[RunRequest, asyncio.Future[RunHandle], Callable[[RunHandle], object]]


@dataclass(slots=True)
class Batch:
    requests: list[Entry] = field(default_factory=list)
    staged: Sequence[staging.Row] = ()
    """Rows of a long history that its question brings along: see staging.py."""
    chunks: list[tuple[LiveRun, Delta]] = field(default_factory=list)
    results: list[tuple[RunResult, asyncio.Future[Charge | None]]] = field(default_factory=list)
    heartbeat: list[uuid.UUID] = field(default_factory=list)
    look: bool = False
    paced: bool = False
    doubtful: Attempt | None = None
    """The last try to store this, if it may have succeeded."""

    def split(self) -> list[Batch]:
        """Return parts that can fail by themselves: each question, each run's text with its outcome, the rest."""
        parts = [Batch(requests=[entry]) for entry in self.requests]
        runs: dict[uuid.UUID, Batch] = {}
        for live, chunk in self.chunks:
            # All of a run or nothing: a later chunk without an earlier one would leave a gap.
            runs.setdefault(live.run_id, Batch()).chunks.append((live, chunk))
        for run_result, future in self.results:
            runs.setdefault(run_result.run_id, Batch()).results.append((run_result, future))
        parts += runs.values()
        if self.heartbeat or self.look:
            parts.append(Batch(heartbeat=self.heartbeat, look=self.look))
        return parts

    def run_ids(self) -> set[uuid.UUID]:
        return {live.run_id for live, _ in self.chunks} | {run_result.run_id for run_result, _ in self.results}


@dataclass(slots=True)
class Result:
    requests: list[RunHandle | Exception] = field(default_factory=list)
    ours: set[uuid.UUID] = field(default_factory=set)
    results: list[Charge | None | Exception] = field(default_factory=list)
    """What each finished run is charged; None for one that was not ours."""
    promoted: dict[uuid.UUID, RunHandle] = field(default_factory=dict)
    """The queued runs that begin now, by the finished run that each waited for."""
    running: dict[uuid.UUID, bool] | None = None
    seconds: float = 0.0
    """The duration of the commit itself."""


class Attempt:
    """One try to commit a batch."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.result: Result | None = None
        self._lock = threading.Lock()
        self._abandoned = self._committing = False

    def run(self, seconds: float) -> Result:
        """Commit, in the journal's thread."""
        began = time.monotonic()
        try:
            with time_limit(seconds):
                limit_transactions(SECONDS * THREAD_SHARE)
                with transaction.atomic(), prepared_cursor() as cursor:
                    self.result = self._found(cursor) or _apply(cursor, self.batch)
                    self._begin_commit()
            self.result.seconds = time.monotonic() - began
            return self.result
        except StorageError:
            discard_connection()
            raise
        finally:
            if self._abandoned:
                discard_connection()

    def abandon(self) -> None:
        """Prevent the commit, unless it has begun."""
        with self._lock:
            self._abandoned = True

    def in_doubt(self) -> bool:
        """Tell whether it may have been committed although it failed: the connection was lost while it was."""
        return self._committing

    def _begin_commit(self) -> None:
        with self._lock:
            if self._abandoned:
                raise OperationalError("this attempt was given up")
            self._committing = True

    def _found(self, cursor: Any) -> Result | None:
        """Return the result of the doubtful attempt, if it was committed after all."""
        before = self.batch.doubtful
        if before is None or before.result is None:
            return None
        return before.result if _is_stored(cursor, before.batch, before.result) else None


def _is_stored(cursor: Any, batch: Batch, result: Result) -> bool:
    """Tell whether the transaction that gave `result` was committed, once it is over."""
    if run_ids := batch.run_ids():
        # The transaction in doubt holds a share lock on each run, so this lock waits until it has ended.
        cursor.execute(
            f"SELECT id FROM {table(Run)} WHERE id IN ({marks(run_ids)}) ORDER BY id{for_update()}",  # noqa: S608
            [key(run_id) for run_id in run_ids],
        )
    handle = next((each for each in result.requests if isinstance(each, RunHandle) and not each.attached), None)
    if handle is not None:
        return Run.objects.filter(pk=handle.run_id).exists()
    for live, chunk in batch.chunks:
        if live.handle.request.store and live.run_id in result.ours:
            return Chunk.objects.filter(run_id=live.run_id, seq=chunk.seq, end=chunk.end).exists()
    for (run_result, _), charge in zip(batch.results, result.results, strict=True):
        if isinstance(charge, Charge):
            finished = Run.objects.filter(pk=run_result.run_id, worker=worker_id(), state=run_result.status)
            return finished.filter(finished_at=run_result.finished_at).exists()
    return False


def _apply(cursor: Any, batch: Batch) -> Result:
    result = Result()
    worker = worker_id()
    asked = [request for request, _, _ in batch.requests] if batch.doubtful is None else []
    finished = [run_result for run_result, _ in batch.results]
    limits = limits_on(cursor, asked, ending={each.run_id for each in finished})
    if batch.requests and batch.doubtful is not None:
        result.requests = [StorageUnavailable(retry_after=RETRY_AFTER) for _ in batch.requests]
    elif batch.requests:
        if batch.staged:
            staging.create(cursor, INSERT_MESSAGE, INSERT_PART)
            staging.write(cursor, INSERT_MESSAGE, INSERT_PART, batch.staged)
        result.requests = list(accept(cursor, asked, worker=worker, limits=limits))
    if batch.chunks or finished:
        unstored = {live.run_id for live, _ in batch.chunks if not live.handle.request.store}
        chunks = [(live.run_id, chunk) for live, chunk in batch.chunks if live.run_id not in unstored]
        stored = run_results.store(cursor, chunks, finished, worker=worker, spending=limits.spending)
        result.ours, result.results = stored.ours | unstored, list(stored.charges)
        result.promoted = stored.promoted
    limits.spending.write()
    if batch.heartbeat:
        # By id: the lease of a run that this process no longer produces must expire.
        cursor.execute(
            f"UPDATE {table(Run)} SET lease_until = {database_clock()} + %s "  # noqa: S608
            f"WHERE worker = %s AND state = 'running' AND id IN ({marks(batch.heartbeat)})",
            [settings.LEASE_SECONDS, worker, *map(key, batch.heartbeat)],
        )
    if batch.look or batch.heartbeat:
        # Nothing else stops the run of an account that was deactivated while its question was being accepted.
        cursor.execute(
            f"SELECT r.id, r.cancel_requested_at, u.is_active FROM {table(Run)} r "  # noqa: S608
            f"JOIN {table(User)} u ON u.id = r.user_id WHERE r.worker = %s AND r.state = 'running'",
            [worker],
        )
        result.running = {read_key(pk): asked is not None or not active for pk, asked, active in cursor.fetchall()}
    # Last, so that nothing is waited for while others wait for these counters.
    charged = [
        (run_result.token_counters, charge.tokens.input + charge.tokens.output)
        for (run_result, _), charge in zip(batch.results, result.results, strict=True)
        if isinstance(charge, Charge)
    ]
    token_rates.count(charged)
    return result


def is_outage(error: Exception) -> bool:
    """Tell whether this error means that nothing at all can be stored right now."""
    return isinstance(error, TimeoutError) or (is_passing(error) and code_of(error) not in OWN_FAULT)


class Writer:
    """The journal's thread with its connection; one that hangs is replaced by a new one."""

    def __init__(self) -> None:
        self._thread = DaemonThreads(1, "journal")
        self._abandoned: list[Future[Any]] = []
        self._limits: set[asyncio.Timeout] = set()

    async def commit(self, attempt: Attempt, seconds: float) -> Result:
        """Run `attempt`, for SECONDS at most; raises TimeoutError when it is abandoned."""
        seconds = min(seconds, SECONDS)
        try:
            return await self.call(attempt.run, seconds * THREAD_SHARE, seconds=seconds)
        except TimeoutError:
            attempt.abandon()
            raise

    async def call(self, function: Callable[..., T], *arguments: Any, seconds: float = SECONDS) -> T:
        """Call `function` in the thread and return its result; TimeoutError, and a new thread, after `seconds`."""
        self._abandoned = [each for each in self._abandoned if not each.done()]
        if len(self._abandoned) >= MAX_ABANDONED:
            raise OperationalError("the threads that stored things hang")
        thread = self._thread
        future = thread.submit(function, *arguments)
        limit = asyncio.timeout(seconds)
        self._limits.add(limit)
        try:
            async with limit:
                return await asyncio.wrap_future(future)
        except TimeoutError:
            self._abandoned.append(future)
            if thread is self._thread:
                thread.shutdown()
                self._thread = DaemonThreads(1, "journal")
            raise
        finally:
            self._limits.discard(limit)

    def shorten_timeouts(self, seconds: float) -> None:
        """Abandon the calls that are under way after `seconds` at the latest."""
        when = asyncio.get_running_loop().time() + max(0.0, seconds)
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(min(when, limit.when() or when))

    async def close(self, seconds: float) -> None:
        future = self._thread.submit(discard_connection)
        self._thread.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.wrap_future(future)
