"""Follows a run, from any cursor, in any process: first what is stored, then what is added.

A reader in the producing process is woken by the run. In any other process, or once the producer has died or lost the
run, the reader polls the database; a reader that lags gets all it missed at once. While the database is down the reader
waits; after STORAGE_SECONDS it is told to come back later, and so it is while the database takes no writes.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import time
import uuid
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from django.conf import settings
from django.db.models import Q

from accounts.callers import Principal
from accounts.credential_watch import Refusal, Watched, credential_watch
from completions.assembly import WHOLE
from completions.cursors import Cursor
from completions.leaving import NOTE_SECONDS, note_follower
from completions.live import LIVE, LiveRun
from completions.models import Chunk, Run
from completions.notifications import notifications
from completions.types import (
    HEARTBEAT,
    MAX_CHARS,
    Delta,
    Heartbeat,
    ReaderEvent,
    Resync,
    RunFinished,
    StreamStarted,
    Wire,
    join,
    portion,
)
from foundation.database import StorageError, in_database_thread
from foundation.outages import note_failure

NOT_KEPT = "This request was already answered, and its answer was not to be stored: it cannot be sent again."
POLL_SECONDS = (0.1, 0.25, 0.5, 1.0)
MAX_CHUNKS = 200
# Shorter than the time after which a run without a producer is ended: a reader waits no longer to hear of that.
STORAGE_SECONDS = 12.0
LOST_SECONDS = 2.0
"""For readers of a run that its process lost: it has waited for the database for a whole lease by then."""
TRY_SECONDS = 4.0
STORAGE_PAUSES = (0.1, 0.5, 1.0)
COME_BACK = RunFinished(
    "interrupted",
    error_code="storage_unavailable",
    error_message="The service cannot reach its store right now. The text so far is kept: resume later for the rest.",
    http_status=503,
    retry_after=5,
)

T = TypeVar("T")

Events = AsyncGenerator[ReaderEvent | Heartbeat, None]
Shape = Callable[[list[Delta]], list[Delta]]


async def subscribe(
    run_id: uuid.UUID,
    *,
    reader: Principal | None = None,
    after: Cursor | None = None,
    idle: float = 15.0,
    merged: bool = True,
    is_lost: bool = False,
) -> Events:
    """Yield the events of a run after the cursor, up to and including its one `RunFinished`.

    `Heartbeat` is yielded after every `idle` seconds without an event. The caller has already checked that the run may
    be read. If the credential of `reader` becomes invalid meanwhile, the stream ends with a `RunFinished` that says so.
    Sockets watch their credential themselves, and pass no `reader`. If not `merged`, there is one `Delta` for each
    stored chunk, so that every reader gets the same ones. `is_lost` says that this process had the run and lost it.
    """
    has_started = False
    last: ReaderEvent | Heartbeat | None = None
    while not isinstance(last, RunFinished):
        live = _live_here(run_id)
        follow = functools.partial(_follow_live, live) if live else functools.partial(_follow_stored, run_id, is_lost)
        events = follow(reader, after, idle, join if merged else list)
        async with contextlib.aclosing(events):
            async for event in events:
                if type(event) is Delta:
                    last = event
                elif type(event) is StreamStarted:
                    if has_started:
                        continue
                    has_started = True
                elif type(event) is not Heartbeat:
                    last = event
                yield event
        if isinstance(last, Delta):
            after = Cursor(run_id, last.seq, last.end)
        elif isinstance(last, Resync):
            after = Cursor(run_id, last.seq, len(last.text))
        is_lost = is_lost or live is not None


def _live_here(run_id: uuid.UUID) -> LiveRun | None:
    live = LIVE.get(run_id)
    return live if live is not None and live.loop is asyncio.get_running_loop() else None


async def _follow_live(
    live: LiveRun, reader: Principal | None, after: Cursor | None, idle: float, shape: Shape
) -> Events:
    seen = 0
    if after is not None and (after.seq or after.end):
        if not 1 <= after.seq <= len(live.chunks) or live.chunks[after.seq - 1].end != after.end:
            chunks = portion(live.chunks)
            seen = len(chunks)
            yield Resync("".join([chunk.text for chunk in chunks]), seen)
        else:
            seen = after.seq
    started = False
    with live.reading(), credential_watch.watching(reader, live.wake) as watched:
        while True:
            if watched is not None and watched.refusal is not None:
                yield _refused(watched.refusal)
                return
            if not started and live.started is not None:
                started = True
                yield live.started
            if len(live.chunks) > seen:
                news = portion(live.chunks[seen : seen + MAX_CHUNKS])
                seen += len(news)
                for delta in shape(news):
                    yield delta
            elif live.finished is not None and not live.is_certain:
                return
            elif live.finished is not None:
                yield await _ending(live.finished, watched)
                return
            elif not await live.wait(idle):
                yield HEARTBEAT


async def _ending(finished: RunFinished, watched: Watched | None) -> RunFinished:
    """Return how a run ended for this reader: whoever cancelled it may also have revoked the reader's credential."""
    if watched is not None and finished.status == Run.State.CANCELLED:
        await credential_watch.check(watched)
        if watched.refusal is not None:
            return _refused(watched.refusal)
    return finished


def _refused(refusal: Refusal) -> RunFinished:
    return RunFinished("failed", error_code=refusal.code, error_message=refusal.message, http_status=refusal.status)


async def patiently(function: Callable[..., T], *arguments: Any, seconds: float = STORAGE_SECONDS) -> T:
    """Call `function` in a database thread, retrying for `seconds` while the database is down; raises StorageError."""
    until = time.monotonic() + seconds
    pauses = itertools.chain(STORAGE_PAUSES, itertools.repeat(STORAGE_PAUSES[-1]))
    while True:
        try:
            return await in_database_thread(
                function, *arguments, seconds=min(TRY_SECONDS, max(0.1, until - time.monotonic()))
            )
        except StorageError as error:
            note_failure(error)
            pause = next(pauses)
            if time.monotonic() + pause > until:
                raise
        await asyncio.sleep(pause)


@dataclass(frozen=True, slots=True)
class _Stored:
    """What the database has of a run after one point, as much as fits into a frame; `more` tells if there is more.

    `lease` is the end of the lease of a run that is being written, else 0.
    """

    chunks: list[Delta]
    started: StreamStarted | None
    finished: RunFinished | None
    resync: Resync | None = None
    more: bool = False
    lease: float = 0.0


async def _follow_stored(
    run_id: uuid.UUID, is_lost: bool, reader: Principal | None, after: Cursor | None, idle: float, shape: Shape
) -> Events:
    seq, end = (after.seq, after.end) if after else (0, 0)
    started = False
    first = True
    quiet = 0.0
    backoff = 0
    note_at = 0.0
    patience = LOST_SECONDS if is_lost else STORAGE_SECONDS
    # Without a sign of life from its producer it is over within this time, unless the store takes no writes.
    overdue = STORAGE_SECONDS if is_lost else settings.LEASE_SECONDS + STORAGE_SECONDS
    lease, since = 0.0, 0.0
    with notifications().watch(run_id) as news, credential_watch.watching(reader, news.set) as watched:
        while True:
            news.clear()
            if watched is not None and watched.refusal is not None:
                yield _refused(watched.refusal)
                return
            noting = time.monotonic() >= note_at
            try:
                stored = await patiently(_read, run_id, seq, end, first, noting, seconds=patience)
            except StorageError:
                yield COME_BACK
                return
            if noting:
                note_at = time.monotonic() + NOTE_SECONDS
            first, patience = False, STORAGE_SECONDS
            if stored.resync is not None:
                yield stored.resync
                seq, end = stored.resync.seq, len(stored.resync.text)
            if not started and stored.started is not None:
                started = True
                yield stored.started
            if stored.chunks:
                seq, end = stored.chunks[-1].seq, stored.chunks[-1].end
                backoff, quiet = 0, 0.0
                for delta in shape(stored.chunks):
                    yield delta
            if stored.more:
                continue
            if stored.finished is not None:
                yield await _ending(stored.finished, watched)
                return
            if stored.lease != lease:
                lease, since = stored.lease, time.monotonic()
            elif lease and time.monotonic() > since + overdue:
                yield COME_BACK
                return
            if not (seq or end or started) and _live_here(run_id) is not None:
                return  # it was queued, and began in this very process
            pause = POLL_SECONDS[min(backoff, len(POLL_SECONDS) - 1)]
            backoff += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await news.wait()
            quiet += pause
            if quiet >= idle:
                quiet = 0.0
                yield HEARTBEAT


def _read(run_id: uuid.UUID, seq: int, end: int, first: bool, noting: bool) -> _Stored:
    # The run is read before its chunks, so if it has ended, all of its chunks are there. Its text may be long, so it is
    # fetched only where it is needed, at the end.
    light = Run.objects.select_related("message").defer("message__content")
    run = light.filter(pk=run_id).first()
    if run is None:
        gone = RunFinished("cancelled", error_code="deleted", error_message="The conversation was deleted.")
        return _Stored([], None, gone)
    if noting and not run.is_over:
        note_follower(run_id)
    started = StreamStarted(run.envelope or {}) if _has_begun(run) else None
    if first and (seq or end) and not _continues(run_id, seq, end):
        return _from_text(run, seq, end, started)
    chunks, more = _chunks(run_id, seq, end)
    if run.is_over and not chunks and len(_text_of(run)) > end:
        # The chunks were deleted after CHUNK_HOURS; the message still has the text.
        return _rest_of_text(run, seq, end, started)
    return _stored(run, chunks, started, more=more)


def _stored(
    run: Run, chunks: list[Delta], started: StreamStarted | None, *, more: bool, resync: Resync | None = None
) -> _Stored:
    finished = run_finished(run) if run.is_over and not more else None
    lease = run.lease_until if run.state == Run.State.RUNNING else 0.0
    return _Stored(chunks, started, finished, resync=resync, more=more, lease=lease)


def _text_of(run: Run) -> str:
    return run.message.streamed_text() if run.message is not None else ""


def _has_begun(run: Run) -> bool:
    """Tell whether an answer began. If not, its end is the first event, and gets an error status."""
    if _is_not_kept(run):
        return False
    if run.envelope is not None:
        return True
    # Without `retryable` its process died, or it was an earlier version, whose failures are streamed as they were then.
    return run.is_over and (run.retryable is None or run.state == Run.State.COMPLETE or bool(_text_of(run)))


def _is_not_kept(run: Run) -> bool:
    return run.message_id is None and run.state == Run.State.COMPLETE


def _chunks(run_id: uuid.UUID, seq: int, end: int) -> tuple[list[Delta], bool]:
    """Return the chunks after `seq`, as many as fit into a frame, and whether there may be more."""
    near = Q(end__lte=end + MAX_CHARS) | Q(seq=seq + 1)
    rows = Chunk.objects.filter(near, run_id=run_id, seq__gt=seq).order_by("seq")[:MAX_CHUNKS]
    found = [Delta(row.text, tuple(row.wire or ()), row.seq, row.end) for row in rows]
    chunks = portion(found)
    full = len(chunks) < len(found) or len(found) == MAX_CHUNKS
    if chunks and not full:
        full = Chunk.objects.filter(run_id=run_id, seq=chunks[-1].seq + 1).exists()
    return chunks, full


def _rest_of_text(run: Run, seq: int, end: int, started: StreamStarted | None) -> _Stored:
    """Continue from the message's text because the chunks were deleted; the chunk numbers simply go on."""
    content = _text_of(run)
    until = min(len(content), end + MAX_CHARS)
    return _stored(run, [Delta(content[end:until], (), seq + 1, until)], started, more=until < len(content))


def _continues(run_id: uuid.UUID, seq: int, end: int) -> bool:
    return Chunk.objects.filter(run_id=run_id, seq=seq, end=end).exists()


def _from_text(run: Run, seq: int, end: int, started: StreamStarted | None) -> _Stored:
    """Continue a cursor that matches no chunk: from the message's text, or from the beginning."""
    chunks, more = _chunks(run.pk, 0, 0)
    if chunks or not run.is_over or run.message is None:
        resync = Resync("".join([chunk.text for chunk in chunks]), len(chunks))
        return _stored(run, [], started, more=more, resync=resync)
    content = _text_of(run)
    if end < len(content):
        return _rest_of_text(run, seq, end, started)
    if end == len(content):
        return _stored(run, [], started, more=False)
    return _stored(run, [], started, more=len(content) > MAX_CHARS, resync=Resync(content[:MAX_CHARS], seq))


def run_finished(run: Run) -> RunFinished:
    """Return the terminal event of a run that is over."""
    content = _text_of(run)
    if _is_not_kept(run):
        # The client asked not to store the answer and now asks for it again; an empty answer would be wrong.
        return RunFinished("failed", error_code="answer_not_kept", error_message=NOT_KEPT, http_status=409)
    return RunFinished(
        run.state,
        finish_reason=run.finish_reason or None,
        usage=run.usage,
        error_code=run.error_code,
        error_message=run.error_message,
        http_status=run.http_status,
        wire=() if whole_choices(run) else tuple(run.closing or ()),
        end=len(content),
        recalled=tuple(run.recalled) if run.recalled is not None else None,
        retryable=bool(run.retryable),
        empty_reason=run.message.empty_reason if run.message is not None else None,
        finished_at=run.finished_at,
        cost=run.cost,
    )


def whole_choices(run: Run) -> list[Wire] | None:
    """Return the choices of an answer that was not streamed, if part of them is missing in its message."""
    closing = run.closing or ()
    return next((wire["choices"] for wire in closing if wire.get("object") == WHOLE), None)


async def wait_for_end(run_id: uuid.UUID) -> RunFinished:
    """Wait until a run is over, whichever process produces it."""
    live = _live_here(run_id)
    if live is not None:
        with live.reading():
            while live.finished is None:
                await live.wait(60.0)
        if live.is_certain:
            return live.finished
    async with contextlib.aclosing(subscribe(run_id, is_lost=live is not None)) as events:
        async for event in events:
            if isinstance(event, RunFinished):
                return event
    raise AssertionError("a run always ends")
