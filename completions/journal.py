"""Group commit: everything that the runs of this process store, in as few transactions as possible.

Questions, first words and outcomes are committed at once; further text is committed at once when
none was for a while, otherwise FLUSH_SECONDS after the last. While one commit is on its way to the
disk, the next one gathers. Only after the commit is anything told to anyone.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import time
import uuid
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db import IntegrityError, InterfaceError, OperationalError, connection, transaction

from accounts.database import database_clock
from completions import outcomes
from completions.acceptance import accept
from completions.asks import Accepted, Ask
from completions.exceptions import ConversationBusy, StorageUnavailable
from completions.hints import hints
from completions.live import LIVE, LiveRun
from completions.models import Run
from completions.outcomes import Outcome
from completions.statements import key, read_key, table
from completions.types import Delta
from completions.worker import worker_id

logger = logging.getLogger(__name__)

CANCEL_POLL_SECONDS = 0.2
SLOWEST_PACE = 0.1
RETRIES = (0.05, 0.2, 0.5, 1.0, 2.0)


@dataclass(slots=True)
class _Batch:
    asks: list[tuple[Ask, asyncio.Future, Callable[[Accepted], object]]] = field(default_factory=list)
    pieces: list[tuple[LiveRun, Delta]] = field(default_factory=list)
    outcomes: list[tuple[Outcome, asyncio.Future]] = field(default_factory=list)
    heartbeat: list[uuid.UUID] = field(default_factory=list)
    look: bool = False
    paced: bool = False


@dataclass(slots=True)
class _Result:
    asks: list[Accepted | Exception] = field(default_factory=list)
    ours: set[uuid.UUID] = field(default_factory=set)
    outcomes: list[bool | Exception] = field(default_factory=list)
    running: dict[uuid.UUID, bool] | None = None


_journals: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Journal] = weakref.WeakKeyDictionary()


def journal() -> Journal:
    """Return the journal of the running event loop; a process has one of each."""
    loop = asyncio.get_running_loop()
    found = _journals.get(loop)
    if found is None:
        found = _journals[loop] = Journal(loop)
    return found


class Journal:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._batch = _Batch()
        self._now: dict[uuid.UUID, LiveRun] = {}
        self._dirty: dict[uuid.UUID, LiveRun] = {}
        self._wake = asyncio.Event()
        self._urgent = asyncio.Event()
        self._text_at = 0.0
        self._pace = settings.FLUSH_SECONDS
        self._beat_at = self._look_at = 0.0
        # A context of its own: the request that happens to come first must not lend its variables.
        self._task = loop.create_task(self._work(), context=contextvars.Context())
        self._hints = hints()
        self._hints.listen(self.look)

    # --- what the runners and the dialects call

    async def accept(self, ask: Ask, started: Callable[[Accepted], object]) -> Accepted:
        """Store a question; `started` is called after the commit even if the caller is gone by then.

        Raises completions.exceptions.Refused.
        """
        future = self._loop.create_future()
        self._batch.asks.append((ask, future, started))
        self._urge()
        return await future

    def write(self, live: LiveRun) -> None:
        """Note that `live` has text to store; its first words do not wait for company."""
        if live.begun:
            self._dirty[live.run_id] = live
            self._wake.set()
        else:
            live.begun = True
            self._now[live.run_id] = live
            self._urge()

    def hurry(self, live: LiveRun) -> None:
        """Store what `live` has said with the next commit: its outcome comes."""
        self._now[live.run_id] = live

    async def finish(self, outcome: Outcome) -> bool:
        """Store an outcome, after all text that was hurried; returns whether the run was still ours."""
        future = self._loop.create_future()
        self._batch.outcomes.append((outcome, future))
        self._urge()
        return await future

    def look(self) -> None:
        """Ask the database at once whether one of our runs is to stop."""
        self._look_at = 0.0
        if LIVE:
            self._urge()

    async def close(self) -> None:
        """Commit what is waiting and stop."""
        while self._now or self._dirty or self._batch.asks or self._batch.outcomes:
            self._urge()
            await asyncio.sleep(0.005)
        self._task.cancel()
        await self._hints.close()
        # A function of its own: `connection.close` would be the loop's connection, not the journal's.
        await self._loop.run_in_executor(self._thread, _disconnect)
        self._thread.shutdown(wait=False)
        _journals.pop(self._loop, None)

    # --- the loop

    def _urge(self) -> None:
        self._urgent.set()
        self._wake.set()

    async def _work(self) -> None:
        while True:
            try:
                await self._turn()
            except Exception as error:  # the journal must outlive anything
                logger.error("journal: %s", type(error).__name__, exc_info=settings.DEBUG)
                await asyncio.sleep(0.1)

    async def _turn(self) -> None:
        await self._wait_for_work()
        batch = self._take()
        began = time.monotonic()
        result = await self._loop.run_in_executor(self._thread, _commit, batch)
        self._tell(batch, result)
        if batch.paced:
            self._text_at = time.monotonic()
            # Under load a commit may take longer than the pace: then fewer, larger pieces.
            self._pace = min(SLOWEST_PACE, max(settings.FLUSH_SECONDS, self._text_at - began))

    async def _wait_for_work(self) -> None:
        while not self._wake.is_set():
            timeout = max(0.0, min(self._beat_at, self._look_at) - time.monotonic()) if LIVE else None
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

    def _take(self) -> _Batch:
        batch, self._batch = self._batch, _Batch()
        self._wake.clear()
        self._urgent.clear()
        now = time.monotonic()
        lives, self._now = self._now, {}
        if now >= self._text_at + self._pace:
            batch.paced = bool(self._dirty)
            lives |= self._dirty
            self._dirty = {}
        elif self._dirty:
            self._wake.set()  # their time comes
        for live in lives.values():
            if not live.lost:
                batch.pieces += [(live, piece) for piece in live.take()]
        if batch.outcomes:
            batch.outcomes = [(outcome, done) for outcome, done in batch.outcomes if not _is_lost(outcome, done)]
        if LIVE and now >= self._beat_at:
            batch.heartbeat = [live.run_id for live in LIVE.values() if live.loop is self._loop]
            self._beat_at = now + settings.HEARTBEAT_SECONDS
        if LIVE and now >= self._look_at:
            batch.look = True
            self._look_at = now + CANCEL_POLL_SECONDS
        return batch

    def _tell(self, batch: _Batch, result: _Result) -> None:
        for (_, future, started), answer in zip(batch.asks, result.asks, strict=True):
            if isinstance(answer, Exception):
                if not future.done():
                    future.set_exception(answer)
                continue
            if not answer.attached:
                started(answer)
            if not future.done():
                future.set_result(answer)
        for live, piece in batch.pieces:
            if live.run_id in result.ours:
                live.publish(piece)
            else:
                live.lose()
        for (_, done), ended in zip(batch.outcomes, result.outcomes, strict=True):
            if done.done():
                continue
            if isinstance(ended, Exception):
                done.set_exception(ended)
            else:
                done.set_result(ended)
        if result.running is not None:
            self._obey(result.running)
        if self._hints.enabled:
            self._hints.tell({live.run_id for live, _ in batch.pieces} | {done.run_id for done, _ in batch.outcomes})

    def _obey(self, running: dict[uuid.UUID, bool]) -> None:
        """Act on what the database says of our runs: cancelled from elsewhere, or no longer ours."""
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


def _is_lost(outcome: Outcome, done: asyncio.Future) -> bool:
    """Tell, and answer it, whether text before this outcome could not be stored: then nobody was shown it."""
    live = LIVE.get(outcome.run_id)
    if live is None or not live.lost:
        return False
    if not done.done():
        done.set_result(False)
    return True


def _disconnect() -> None:
    connection.close()


def _commit(batch: _Batch) -> _Result:
    """Run in the journal's thread: one transaction for all, or, should it fail, one for each."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            return _apply(cursor, batch)
    except Exception as error:
        logger.warning("journal: a batch failed (%s), its parts are tried one by one", type(error).__name__)
        connection.close_if_unusable_or_obsolete()
        return _apply_one_by_one(batch)


def _apply(cursor: Any, batch: _Batch) -> _Result:
    result = _Result()
    worker = worker_id()
    if batch.asks:
        result.asks = list(accept(cursor, [ask for ask, _, _ in batch.asks], worker=worker))
    if batch.pieces:
        stored = [(live.run_id, piece) for live, piece in batch.pieces if live.accepted.ask.store]
        unstored = {live.run_id for live, _ in batch.pieces if not live.accepted.ask.store}
        result.ours = outcomes.record(cursor, stored, worker=worker) | unstored if stored else unstored
    if batch.outcomes:
        result.outcomes = list(outcomes.finish(cursor, [outcome for outcome, _ in batch.outcomes], worker=worker))
    if batch.heartbeat:
        # By id: a run of ours that nobody here produces any more must run out of its lease.
        marks = ", ".join(["%s"] * len(batch.heartbeat))
        cursor.execute(
            f"UPDATE {table(Run)} SET lease_until = {database_clock()} + %s "  # noqa: S608
            f"WHERE worker = %s AND state = 'running' AND id IN ({marks})",
            [settings.LEASE_SECONDS, worker, *map(key, batch.heartbeat)],
        )
    if batch.look or batch.heartbeat:
        cursor.execute(
            f"SELECT id, cancel_requested_at FROM {table(Run)} WHERE worker = %s AND state = 'running'",  # noqa: S608
            [worker],
        )
        result.running = {read_key(pk): asked is not None for pk, asked in cursor.fetchall()}
    return result


def _apply_one_by_one(batch: _Batch) -> _Result:
    result = _Result()
    for entry in batch.asks:
        part = _try(_Batch(asks=[entry]), retries=())
        answer: Accepted | Exception
        if isinstance(part, IntegrityError):
            answer = ConversationBusy()
        elif isinstance(part, Exception):
            answer = StorageUnavailable(retry_after=5)
        else:
            answer = part.asks[0]
        result.asks.append(answer)
    for pieces in _by_run(batch.pieces):
        # All of a run or nothing: a later piece without an earlier one would be a hole.
        part = _try(_Batch(pieces=pieces), retries=RETRIES)
        if not isinstance(part, Exception):
            result.ours |= part.ours
    holed = {live.run_id for live, _ in batch.pieces} - result.ours
    for pair in batch.outcomes:
        if pair[0].run_id in holed:
            result.outcomes.append(False)
            continue
        part = _try(_Batch(outcomes=[pair]), retries=RETRIES)
        result.outcomes.append(part if isinstance(part, Exception) else part.outcomes[0])
    return result


def _by_run(pieces: Iterable[tuple[LiveRun, Delta]]) -> Iterable[list[tuple[LiveRun, Delta]]]:
    runs: dict[uuid.UUID, list[tuple[LiveRun, Delta]]] = {}
    for live, piece in pieces:
        runs.setdefault(live.run_id, []).append((live, piece))
    return runs.values()


def _try(batch: _Batch, *, retries: Iterable[float]) -> _Result | Exception:
    error: Exception | None = None
    for pause in (0.0, *retries):
        time.sleep(pause)
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                return _apply(cursor, batch)
        except (OperationalError, InterfaceError) as failed:
            error = failed
            connection.close_if_unusable_or_obsolete()
        except Exception as failed:  # trying again would not change it
            return failed
    assert error is not None
    return error
