"""Group commit: stores everything of this process's runs in as few transactions as possible.

Questions, first words and outcomes are committed at once; further text is committed at once if the last commit of text
was long enough ago, otherwise FLUSH_SECONDS after it. While one commit is being written to disk, the next one is
collected. Nothing is published before its commit.

While the database is away, the whole batch is retried: questions for ACCEPT_SECONDS, text and outcomes for the length
of a lease. After that the reaper of any process may end the runs, and their readers are told. When a batch fails
because of one part, the parts are retried one by one.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import itertools
import logging
import math
import time
import uuid
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from django.conf import settings
from django.db import IntegrityError

from completions.commits import RETRY_AFTER, Attempt, Batch, Entry, Result, Writer, is_outage
from completions.exceptions import ConversationBusy, Refused, StorageUnavailable
from completions.live import LIVE, LiveRun
from completions.notifications import notifications
from completions.run_requests import RunHandle, RunRequest
from completions.run_results import RunResult
from completions.signals import batch_committed, batch_failed
from foundation.database import StorageError
from foundation.logs.tracebacks import unexpected
from foundation.outages import is_disk_full, note_failure, note_success
from usage.ledger import Charge

logger = logging.getLogger(__name__)

CANCEL_POLL_SECONDS = 0.2
SLOWEST_PACE = 0.1
RETRIES = (0.05, 0.2, 0.5, 1.0)
ACCEPT_SECONDS = 5.0
PROBE_SECONDS = 1.0
CLOSE_SECONDS = 5.0
# The most question messages in one commit; a single question may exceed it.
MAX_MESSAGES = 128

T = TypeVar("T")


_journals: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Journal] = weakref.WeakKeyDictionary()


def journal() -> Journal:
    """Return the journal of the running event loop; a process has one for each of its loops."""
    loop = asyncio.get_running_loop()
    found = _journals.get(loop)
    if found is None:
        found = _journals[loop] = Journal(loop)
    return found


def oldest_wait() -> float:
    """Return how many seconds the oldest uncommitted item of this process has been waiting; 0 when all is stored."""
    found = _journals.get(asyncio.get_running_loop())
    return found.oldest_wait() if found is not None else 0.0


class Journal:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._writer = Writer()
        self._batch = Batch()
        self._now: dict[uuid.UUID, LiveRun] = {}
        self._dirty: dict[uuid.UUID, LiveRun] = {}
        self._wake = asyncio.Event()
        self._urgent = asyncio.Event()
        self._text_at = 0.0
        self._pace = settings.FLUSH_SECONDS
        self._commit_seconds = 0.0
        self._beat_at = self._look_at = 0.0
        # When the oldest item that could not be stored began to wait; None while storing works.
        self._waiting_since: float | None = None
        self._give_up_at = math.inf
        # In an empty context: the task must not inherit the context variables of the first request.
        self._task = loop.create_task(self._work(), context=contextvars.Context())
        self._notifications = notifications()
        self._notifications.listen(self.look)

    # --- called by the runners and the dialects

    async def accept(self, request: RunRequest, started: Callable[[RunHandle], object]) -> RunHandle:
        """Store a question; `started` is called after the commit even if the caller is gone by then.

        Raises completions.exceptions.Refused.
        """
        future: asyncio.Future[RunHandle] = self._loop.create_future()
        self._batch.requests.append((request, future, started))
        self.wake()
        timer = self._loop.call_later(ACCEPT_SECONDS, self._refuse_waiting, future)
        try:
            return await future
        finally:
            timer.cancel()

    def write(self, live: LiveRun) -> None:
        """Note that `live` has text to store; its first words are stored without waiting for the next flush."""
        if live.begun:
            self._dirty[live.run_id] = live
            self._wake.set()
        else:
            live.begun = True
            self._now[live.run_id] = live
            self.wake()

    def flush_soon(self, live: LiveRun) -> None:
        """Store all text of `live` with the next commit: its outcome is about to follow."""
        self._now[live.run_id] = live

    async def finish(self, run_result: RunResult) -> Charge | None:
        """Store an outcome, after all text of its run; returns its charge, or None if the run was no longer ours."""
        future: asyncio.Future[Charge | None] = self._loop.create_future()
        self._batch.results.append((run_result, future))
        self.wake()
        return await future

    async def between_commits(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call `function` in the journal's thread and return its result; raises TimeoutError when it takes too long."""
        return await self._writer.call(function, *arguments)

    async def flush_now(self) -> None:
        """Commit the buffered text with the next commit, which is requested before this returns."""
        self._text_at = 0.0
        self.wake()
        await asyncio.sleep(0)

    def look(self) -> None:
        """Check immediately whether one of our runs should be stopped."""
        self._look_at = 0.0
        if LIVE:
            self.wake()

    def oldest_wait(self) -> float:
        return 0.0 if self._waiting_since is None else time.monotonic() - self._waiting_since

    def give_up_in(self, seconds: float) -> None:
        """Wait for the database for `seconds` at most from now on, because the process is shutting down."""
        self._give_up_at = min(self._give_up_at, time.monotonic() + seconds)
        self._writer.shorten_timeouts(seconds)

    async def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Commit what is waiting and stop, within `seconds`."""
        until = time.monotonic() + seconds
        self.give_up_in(seconds / 2)
        while (self._now or self._dirty or self._batch.requests or self._batch.results) and time.monotonic() < until:
            self.wake()
            await asyncio.sleep(0.005)
        self._task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.1, until - time.monotonic())):
                await self._notifications.close()
        await self._writer.close(max(0.1, until - time.monotonic()))
        _journals.pop(self._loop, None)

    # --- the loop

    def wake(self) -> None:
        self._urgent.set()
        self._wake.set()

    async def _work(self) -> None:
        while True:
            try:
                await self._turn()
            except Exception as error:  # the journal must survive any error
                logger.error("journal: %s", type(error).__name__, extra=unexpected(error))
                await asyncio.sleep(0.1)

    async def _turn(self) -> None:
        await self._wait_for_work()
        batch = self._take()
        await self._store(batch)
        if batch.paced:
            self._text_at = time.monotonic()
            # Under load a commit may take longer than the interval; then commit less often, in larger chunks. Time
            # spent waiting for a long history is not counted: it does not predict how long the next commit takes.
            self._pace = min(SLOWEST_PACE, max(settings.FLUSH_SECONDS, self._commit_seconds))

    async def _wait_for_work(self) -> None:
        while not self._wake.is_set():
            timeout = max(0.0, min(self._beat_at, self._look_at) - time.monotonic()) if LIVE else None
            if self._waiting_since is not None:
                timeout = PROBE_SECONDS
            if timeout == 0.0:
                return
            try:
                async with asyncio.timeout(timeout):
                    await self._wake.wait()
            except TimeoutError:
                return
        left = self._text_at + self._pace - time.monotonic()
        if left > 0 and not self._urgent.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._urgent.wait()

    async def _store(self, batch: Batch) -> None:
        """Commit `batch`, in as many attempts as needed, and publish the results."""
        began = time.monotonic()
        if self._waiting_since is None:
            self._waiting_since = began
        waiting, pauses = deque([batch]), itertools.chain(RETRIES, itertools.repeat(RETRIES[-1]))
        error: Exception = TimeoutError()
        while waiting:
            if not (left := self._patience(began)):
                self._give_up(waiting, error)
                return
            part = waiting.popleft()
            if part.doubtful is None:
                part.results = [
                    (run_result, done) for run_result, done in part.results if not _is_lost(run_result, done)
                ]
            attempt = Attempt(part)
            try:
                result = await self._writer.commit(attempt, left)
            except (*StorageError, TimeoutError) as failed:
                error = failed
                if attempt.in_doubt():
                    part.doubtful = attempt
            except Exception as failed:
                error = failed
            else:
                self._commit_seconds = result.seconds
                self._publish(part, result)
                batch_committed.send_robust(
                    None,
                    seconds=result.seconds,
                    questions=len(part.requests),
                    chunks=len(part.chunks),
                    results=len(part.results),
                    traceparents=[request.traceparent for request, _, _ in part.requests],
                    runs=[run_result.run_id for run_result, _ in part.results],
                )
                continue
            batch_failed.send_robust(None)
            if is_outage(error) or (part.doubtful is not None and isinstance(error, StorageError)):
                note_failure(error)
                if part.doubtful is None and (time.monotonic() - began > ACCEPT_SECONDS or is_disk_full(error)):
                    self._refuse(part, StorageUnavailable(retry_after=RETRY_AFTER))
                waiting.appendleft(part)
            elif len(parts := part.split()) > 1:
                logger.warning("journal: a batch failed (%s), its parts are tried one by one", type(error).__name__)
                if part.doubtful is not None:
                    self._refuse(part, StorageUnavailable(retry_after=RETRY_AFTER))
                    parts = part.split()
                waiting.extendleft(reversed(parts))
                continue
            elif part.requests or not isinstance(error, StorageError):
                logger.warning("journal: something cannot be stored (%s)", type(error).__name__)
                self._fail(part, error)
                continue
            else:
                waiting.append(part)  # another transaction may hold a lock: try the other parts first
            await asyncio.sleep(min(next(pauses), self._patience(began)))
        self._waiting_since = None
        note_success()

    def _patience(self, since: float) -> float:
        """Return how much longer to retry: a lease's length since then, less while the process shuts down."""
        return max(0.0, min(since + settings.LEASE_SECONDS, self._give_up_at) - time.monotonic())

    def _give_up(self, parts: Iterable[Batch], error: Exception) -> None:
        """Give up parts that waited for a whole lease; in an outage give up all runs too: their leases have expired."""
        for part in parts:
            self._fail(part, error)
        for live in list(LIVE.values()):
            if live.loop is self._loop and is_outage(error):
                live.lose()

    def _fail(self, part: Batch, error: Exception) -> None:
        busy = isinstance(error, IntegrityError)
        self._refuse(part, ConversationBusy() if busy else StorageUnavailable(retry_after=RETRY_AFTER))
        self._publish(part, Result(results=[error] * len(part.results)))

    def _refuse(self, part: Batch, refusal: Refused) -> None:
        """Refuse the questions of a part that could not be stored."""
        for _, future, _ in part.requests:
            if not future.done():
                future.set_exception(refusal)
        part.requests = []

    def _refuse_waiting(self, future: asyncio.Future[RunHandle]) -> None:
        """Refuse a question that no commit included in time."""
        waiting = [entry for entry in self._batch.requests if entry[1] is not future]
        if len(waiting) < len(self._batch.requests) and not future.done():
            self._batch.requests = waiting
            future.set_exception(StorageUnavailable(retry_after=RETRY_AFTER))

    def _take(self) -> Batch:
        batch, self._batch = self._batch, Batch()
        self._wake.clear()
        self._urgent.clear()
        batch.requests, self._batch.requests = _bounded(batch.requests)
        if self._batch.requests:
            self.wake()
        now = time.monotonic()
        lives, self._now = self._now, {}
        if now >= self._text_at + self._pace:
            batch.paced = bool(self._dirty)
            lives |= self._dirty
            self._dirty = {}
        elif self._dirty:
            self._wake.set()  # these are due at the end of the interval
        for live in lives.values():
            if not live.lost:
                batch.chunks += [(live, chunk) for chunk in live.take()]
        if LIVE and now >= self._beat_at:
            batch.heartbeat = [live.run_id for live in LIVE.values() if live.loop is self._loop]
            self._beat_at = now + settings.HEARTBEAT_SECONDS
        if self._waiting_since is not None or (LIVE and now >= self._look_at):
            batch.look = True
            self._look_at = now + CANCEL_POLL_SECONDS
        return batch

    def _publish(self, batch: Batch, result: Result) -> None:
        for (_, future, started), answer in zip(batch.requests, result.requests, strict=True):
            if isinstance(answer, Exception):
                if not future.done():
                    future.set_exception(answer)
                continue
            if answer.starts_now:
                started(answer)
            if not future.done():
                future.set_result(answer)
        for live, chunk in batch.chunks:
            if live.run_id in result.ours:
                live.publish(chunk)
            else:
                live.lose()
        for run_id, handle in result.promoted.items():
            if (before := LIVE.get(run_id)) is not None:
                before.following = handle
        for (_, done), finished in zip(batch.results, result.results, strict=True):
            if done.done():
                continue
            if isinstance(finished, Exception):
                done.set_exception(finished)
            else:
                done.set_result(finished)
        if result.running is not None:
            self._apply_cancellations(result.running)
        if self._notifications.enabled:
            self._notifications.notify(
                {live.run_id for live, _ in batch.chunks} | {done.run_id for done, _ in batch.results}
            )

    def _apply_cancellations(self, running: dict[uuid.UUID, bool]) -> None:
        """Stop those of our runs that were cancelled elsewhere, or that the database no longer lists as ours."""
        for run_id, live in list(LIVE.items()):
            if live.loop is not self._loop:
                continue
            if run_id in running:
                if running[run_id]:
                    live.cancel()
                live.missed = False
            elif live.missed:
                live.lose()
            else:
                live.missed = True


def _bounded(run_requests: list[Entry]) -> tuple[list[Entry], list[Entry]]:
    """Return the questions that one commit includes, and those left for the next one."""
    messages = 0
    for number, (request, _, _) in enumerate(run_requests):
        messages += request.new_messages + 1
        if number and messages > MAX_MESSAGES:
            return run_requests[:number], run_requests[number:]
    return run_requests, []


def _is_lost(run_result: RunResult, done: asyncio.Future[Charge | None]) -> bool:
    """Tell whether earlier text of this run could not be stored; if so, drop its outcome too."""
    live = LIVE.get(run_result.run_id)
    if live is None or not live.lost:
        return False
    if not done.done():
        done.set_result(None)
    return True
