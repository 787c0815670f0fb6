"""Following a run, from any point, in any process: first what is stored, then what comes.

A reader on the producing process is woken by it. Anywhere else, or after that process died, the
database is asked; a lagging reader gets all it missed in one piece.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

from django.db.models import Q

from accounts.database import in_database_thread
from completions.assembly import WHOLE
from completions.cursors import Cursor
from completions.hints import hints
from completions.live import LIVE, LiveRun
from completions.models import Chunk, Run
from completions.types import (
    MOST_CHARS,
    QUIET,
    Delta,
    Ended,
    Opened,
    Quiet,
    ReaderEvent,
    Resync,
    Wire,
    merge,
    portion,
)

NOT_KEPT = "This request was answered, and nothing of it was to be stored: its answer cannot be given again."
POLL_SECONDS = (0.1, 0.25, 0.5, 1.0)
MOST_PIECES = 200


async def subscribe(
    run_id: uuid.UUID, *, after: Cursor | None = None, idle: float = 15.0
) -> AsyncIterator[ReaderEvent | Quiet]:
    """Yield what happens in a run after the cursor, up to and including its one `Ended`.

    `Quiet` comes whenever `idle` seconds brought nothing. Whether the caller may read this run is
    the caller's business, and decided before.
    """
    live = LIVE.get(run_id)
    if live is not None and live.loop is asyncio.get_running_loop():
        events = _follow_live(live, after, idle)
    else:
        events = _follow_stored(run_id, after, idle)
    async for event in events:
        yield event


async def _follow_live(live: LiveRun, after: Cursor | None, idle: float) -> AsyncIterator[ReaderEvent | Quiet]:
    seen = 0
    if after is not None and (after.seq or after.end):
        if not 1 <= after.seq <= len(live.pieces) or live.pieces[after.seq - 1].end != after.end:
            pieces = portion(live.pieces)
            seen = len(pieces)
            yield Resync("".join([piece.text for piece in pieces]), seen)
        else:
            seen = after.seq
    opened = False
    while True:
        if not opened and live.opened is not None:
            opened = True
            yield live.opened
        if len(live.pieces) > seen:
            news = portion(live.pieces[seen : seen + MOST_PIECES])
            seen += len(news)
            yield merge(news)
        elif live.ended is not None:
            yield live.ended
            return
        elif not await live.wait(idle):
            yield QUIET


@dataclass(frozen=True, slots=True)
class _Stored:
    """What the database holds of a run after one point, as much as fits into a frame; `more` is there."""

    pieces: list[Delta]
    opened: Opened | None
    ended: Ended | None
    resync: Resync | None = None
    more: bool = False


async def _follow_stored(run_id: uuid.UUID, after: Cursor | None, idle: float) -> AsyncIterator[ReaderEvent | Quiet]:
    seq, end = (after.seq, after.end) if after else (0, 0)
    opened = False
    first = True
    quiet = 0.0
    naps = 0
    with hints().watch(run_id) as news:
        while True:
            news.clear()
            stored = await in_database_thread(_read, run_id, seq, end, first)
            first = False
            if stored.resync is not None:
                yield stored.resync
                seq, end = stored.resync.seq, len(stored.resync.text)
            if not opened and stored.opened is not None:
                opened = True
                yield stored.opened
            if stored.pieces:
                piece = merge(stored.pieces)
                seq, end = piece.seq, piece.end
                naps, quiet = 0, 0.0
                yield piece
            if stored.more:
                continue
            if stored.ended is not None:
                yield stored.ended
                return
            nap = POLL_SECONDS[min(naps, len(POLL_SECONDS) - 1)]
            naps += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(nap):
                    await news.wait()
            quiet += nap
            if quiet >= idle:
                quiet = 0.0
                yield QUIET


def _read(run_id: uuid.UUID, seq: int, end: int, first: bool) -> _Stored:
    # The run before its chunks: once it is seen to have ended, every chunk of it is there to be seen.
    # Without the text, which may be long: it is fetched where it is needed, which is at the end.
    light = Run.objects.select_related("message").defer("message__content", "message__parts")
    run = light.filter(pk=run_id).first()
    if run is None:
        gone = Ended("cancelled", error_code="deleted", error_message="The conversation was deleted.")
        return _Stored([], None, gone)
    opened = Opened(run.envelope) if run.envelope is not None else (Opened() if _is_over(run) else None)
    if _is_not_kept(run):
        opened = None  # or it would look as if an answer began
    if first and (seq or end) and not _continues(run_id, seq, end):
        return _from_text(run, seq, end, opened)
    pieces, more = _pieces(run_id, seq, end)
    if _is_over(run) and not pieces and run.message is not None and len(run.message.content) > end:
        # The pieces are compacted away; the text is forever.
        return _rest_of_text(run, seq, end, opened)
    return _stored(run, pieces, opened, more=more)


def _stored(
    run: Run, pieces: list[Delta], opened: Opened | None, *, more: bool, resync: Resync | None = None
) -> _Stored:
    ended = ended_of(run) if _is_over(run) and not more else None
    return _Stored(pieces, opened, ended, resync=resync, more=more)


def _is_over(run: Run) -> bool:
    return run.state != Run.State.RUNNING


def _is_not_kept(run: Run) -> bool:
    return run.message_id is None and run.state == Run.State.COMPLETE


def _pieces(run_id: uuid.UUID, seq: int, end: int) -> tuple[list[Delta], bool]:
    """Return the pieces after `seq`, as many as fit into a frame, and whether there may be more."""
    near = Q(end__lte=end + MOST_CHARS) | Q(seq=seq + 1)
    rows = Chunk.objects.filter(near, run_id=run_id, seq__gt=seq).order_by("seq")[:MOST_PIECES]
    found = [Delta(row.text, tuple(row.wire or ()), row.seq, row.end) for row in rows]
    pieces = portion(found)
    full = len(pieces) < len(found) or len(found) == MOST_PIECES
    if pieces and not full:
        full = Chunk.objects.filter(run_id=run_id, seq=pieces[-1].seq + 1).exists()
    return pieces, full


def _rest_of_text(run: Run, seq: int, end: int, opened: Opened | None) -> _Stored:
    """Continue from the final text, whose pieces are gone; numbers of pieces only count on."""
    content = run.message.content if run.message is not None else ""
    until = min(len(content), end + MOST_CHARS)
    return _stored(run, [Delta(content[end:until], (), seq + 1, until)], opened, more=until < len(content))


def _continues(run_id: uuid.UUID, seq: int, end: int) -> bool:
    return Chunk.objects.filter(run_id=run_id, seq=seq, end=end).exists()


def _from_text(run: Run, seq: int, end: int, opened: Opened | None) -> _Stored:
    """Continue a cursor that no piece answers to: from the final text, or all over again."""
    pieces, more = _pieces(run.pk, 0, 0)
    if pieces or not _is_over(run) or run.message is None:
        resync = Resync("".join([piece.text for piece in pieces]), len(pieces))
        return _stored(run, [], opened, more=more, resync=resync)
    content = run.message.content
    if end < len(content):
        return _rest_of_text(run, seq, end, opened)
    if end == len(content):
        return _stored(run, [], opened, more=False)
    return _stored(run, [], opened, more=len(content) > MOST_CHARS, resync=Resync(content[:MOST_CHARS], seq))


def ended_of(run: Run) -> Ended:
    """Return the terminal event of a run that is over."""
    content = run.message.content if run.message is not None else ""
    if _is_not_kept(run):
        # Asked not to be stored, and asked for again: an empty answer would be a lie.
        return Ended("failed", error_code="answer_not_kept", error_message=NOT_KEPT, http_status=409)
    return Ended(
        run.state,
        finish_reason=run.finish_reason or None,
        usage=run.usage,
        error_code=run.error_code,
        error_message=run.error_message,
        http_status=run.http_status,
        wire=() if whole_choices(run) else tuple(run.closing or ()),
        end=len(content),
        recalled=tuple(run.recalled) if run.recalled is not None else None,
    )


def whole_choices(run: Run) -> list[Wire] | None:
    """Return the choices of an answer that was not streamed, where its message alone would lose some of them."""
    closing = run.closing or ()
    return next((wire["choices"] for wire in closing if wire.get("object") == WHOLE), None)


async def wait_for_end(run_id: uuid.UUID) -> Ended:
    """Wait until a run is over, whoever produces it."""
    live = LIVE.get(run_id)
    if live is not None and live.loop is asyncio.get_running_loop():
        while live.ended is None:
            await live.wait(60.0)
        return live.ended
    async for event in subscribe(run_id):
        if isinstance(event, Ended):
            return event
    raise AssertionError("a run always ends")
