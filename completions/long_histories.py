"""Accepts long histories outside of the group commit, so that nobody's tokens wait for them.

A long history is first looked up (`prefixes.prepare`). Its rows are made in slices, between which the event loop runs,
and written to a staging table (`staging.py`); then one transaction accepts it. Histories are accepted one at a time.
The others wait in memory; a caller may have as many waiting as it may have answers at once. After each one the queue
pauses for as long as it took, so that half of the machine is left to everybody else. While a caller's history is being
accepted, its other questions wait behind it: in the group commit they would wait for the caller's counters, and delay
everybody's questions.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from django.conf import settings
from django.db import DatabaseError, IntegrityError, InterfaceError, connection
from django.utils import timezone

from completions import staging
from completions.admission import running_limits
from completions.commits import RETRY_AFTER, SECONDS, Attempt, Batch
from completions.exceptions import ConversationBusy, HistoryChanged, StorageUnavailable, TooManyRuns
from completions.journal import journal
from completions.prefixes import MAX_SHORT, History, prepare
from completions.rows import INSERT_MESSAGE, INSERT_PART, message_rows
from completions.run_requests import RunHandle, RunRequest
from completions.storage_limits import check_new_messages
from foundation.database import StorageError, checkpoint, in_database_thread
from foundation.ids import uuid7
from foundation.logs.context import background_context

logger = logging.getLogger(__name__)

SLICE, STAGED_ROWS = 64, 256
ATTEMPTS = 3
MAX_REST = 1.0

Started = Callable[[RunHandle], object]
Rows = Sequence[staging.Row]


async def accept_question(request: RunRequest, started: Started) -> RunHandle:
    """Store a question; `started` is called after the commit even if the caller is gone by then. Raises Refused."""
    for _ in range(ATTEMPTS):
        prepared = await prepare(request)
        waiting = _queue()
        try:
            if _is_long(prepared):
                if prepared.history is not None and not prepared.history.is_full:
                    check_new_messages(prepared.new_messages)
                waiting.check_room(prepared)
            elif request.principal.limit_key not in waiting.callers:
                return await journal().accept(prepared, started)
            return await waiting.accept(prepared, started)
        except HistoryChanged:
            continue  # what was stored of it was deleted, or its conversation filled up, at the same time
    raise HistoryChanged


def _is_long(request: RunRequest) -> bool:
    return request.history is not None and request.new_messages > MAX_SHORT


async def finish() -> None:
    """Wait for the histories that are being accepted."""
    await asyncio.gather(*_queue().tasks, return_exceptions=True)


_queues: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Queue] = weakref.WeakKeyDictionary()


def _queue() -> _Queue:
    return _queues.setdefault(asyncio.get_running_loop(), _Queue())


class _Queue:
    """The long histories of one event loop, accepted one after the other."""

    def __init__(self) -> None:
        self.callers: Counter[str] = Counter()
        self.tasks: set[asyncio.Task[RunHandle]] = set()
        self._turn = asyncio.Lock()
        self._rested_at = 0.0

    def check_room(self, request: RunRequest) -> None:
        """Raise TooManyRuns if too many long histories, of this caller or in total, are already waiting in memory."""
        who = request.principal
        for _, limit, name in running_limits(who)[:1]:
            if limit and self.callers[who.limit_key] >= limit:
                raise TooManyRuns(f"At most {limit} answers can be written at once ({name}).", retry_after=1)
        limit = settings.LIMIT_LONG_HISTORIES_PER_PROCESS
        if limit and len(self.tasks) >= limit:
            message = f"At most {limit} long histories can wait at once (LIMIT_LONG_HISTORIES_PER_PROCESS)."
            raise TooManyRuns(message, retry_after=1)

    async def accept(self, request: RunRequest, started: Started) -> RunHandle:
        caller = request.principal.limit_key
        # In a task of its own: once started, it is accepted even if the caller disconnects.
        task = asyncio.get_running_loop().create_task(self._accept(request, started), context=background_context())
        self.tasks.add(task)
        self.callers[caller] += 1
        task.add_done_callback(lambda done: self._let_go(done, caller))
        return await asyncio.shield(task)

    def _let_go(self, task: asyncio.Task[RunHandle], caller: str) -> None:
        self.tasks.discard(task)
        self.callers -= Counter([caller])
        if not task.cancelled():
            task.exception()  # marks the exception as retrieved, in case nobody awaits the task any more

    async def _accept(self, request: RunRequest, started: Started) -> RunHandle:
        async with self._turn:
            await asyncio.sleep(self._rested_at - time.monotonic())
            began = time.monotonic()
            rows: Rows = ()
            if request.history is not None and _is_long(request):
                with contextlib.suppress(*StorageError):  # copies what the previous history wrote
                    await in_database_thread(checkpoint)
                request, rows = await _prepare_rows(request, request.history)
            answer = await _store(request, rows)
            self._rested_at = time.monotonic() + min(time.monotonic() - began, MAX_REST)
            if answer.starts_now:
                started(answer)
            return answer


async def _prepare_rows(request: RunRequest, history: History) -> tuple[RunRequest, Rows]:
    """Return the rows of the messages that are not stored yet, and the question with their ids."""
    now = timezone.now()
    ids: list[uuid.UUID] = []
    rows: list[staging.Row] = []
    for at in range(history.stored, len(request.messages)):
        pk, parent_id = uuid7(), ids[-1] if ids else None
        row, parts = message_rows(request.messages[at], pk, None, parent_id, at, history.digests[at], now)
        rows.append(staging.Row(INSERT_MESSAGE.row(row), [INSERT_PART.row(part) for part in parts]))
        ids.append(pk)
        if not len(rows) % SLICE:
            await asyncio.sleep(0)
    return replace(request, history=replace(history, staged_ids=tuple(ids))), rows


async def _store(request: RunRequest, rows: Rows) -> RunHandle:
    batch = Batch(requests=[(request, None, None)])  # type: ignore[list-item]  # its result is looked at here
    for last in (False, True):
        attempt = Attempt(batch)
        try:
            if connection.vendor == "postgresql":
                batch.staged = rows
                result = await in_database_thread(attempt.run, SECONDS, seconds=SECONDS)
            else:
                for start in range(0, len(rows), STAGED_ROWS):
                    await journal().between_commits(_stage, rows[start : start + STAGED_ROWS], start == 0)
                await journal().flush_now()
                result = await journal().between_commits(attempt.run, SECONDS)
        except IntegrityError:  # another process was first, under the same key or in the same conversation
            if last:
                raise ConversationBusy from None
        except (DatabaseError, InterfaceError, TimeoutError) as error:
            attempt.abandon()
            logger.warning("a long history could not be stored (%s)", type(error).__name__)
            if last:
                raise StorageUnavailable(retry_after=RETRY_AFTER) from None
            if attempt.in_doubt():
                batch.doubtful = attempt
        else:
            [answer] = result.requests
            if isinstance(answer, Exception):
                raise answer
            return answer
    raise AssertionError("never reached")


def _stage(rows: Rows, first: bool) -> None:
    with connection.cursor() as cursor:
        if first:
            staging.create(cursor, INSERT_MESSAGE, INSERT_PART)
        staging.write(cursor, INSERT_MESSAGE, INSERT_PART, rows)
