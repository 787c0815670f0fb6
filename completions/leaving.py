"""Stops a run whose client has left, unless somebody else reads it.

Readers in the producing process are counted (`LiveRun.reading`). Readers in other processes write `followed_until` into
the run's row, and renew it; after they leave or die it holds for a while longer.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import datetime as dt
import uuid
from collections.abc import AsyncGenerator
from typing import Any

from django.db.models import Q
from django.db.models.functions import Now

from completions import queueing, services
from completions.live import LIVE
from completions.models import Run
from foundation.database import StorageError, in_database_thread

NOTE_SECONDS = 10.0
NOTE_HOLDS = dt.timedelta(seconds=30)
RENEWED_BEFORE = dt.timedelta(seconds=20)
LOOK_SECONDS = 2.0

_leaving: set[asyncio.Task[None]] = set()


def stop_soon(run_id: uuid.UUID, events: AsyncGenerator[Any, None] | None = None) -> None:
    """Close what the client read, then call `stop_unless_followed`, in a task that outlives the request."""

    async def stop() -> None:
        if events is not None:
            await events.aclose()
        await stop_unless_followed(run_id)

    task = asyncio.get_running_loop().create_task(stop(), context=contextvars.Context())
    _leaving.add(task)
    task.add_done_callback(_leaving.discard)


async def stop_unless_followed(run_id: uuid.UUID) -> None:
    """Stop a run of this process whose client has left, and keep its text, unless somebody else reads it.

    The run continues while the service drains, since connections are then closed for another reason. A run of another
    process, which this client had only joined, continues too, and so does any run while the database cannot be asked. A
    queued run, which has no readers of its own yet, ends.
    """
    if run_id not in LIVE and not services.is_draining():
        with contextlib.suppress(*StorageError, TimeoutError):
            await in_database_thread(queueing.cancel, run_id, seconds=LOOK_SECONDS)
    if not _is_alone(run_id):
        return
    try:
        followed = await in_database_thread(_is_followed, run_id, seconds=LOOK_SECONDS)
    except (*StorageError, TimeoutError):
        return
    live = LIVE.get(run_id)
    if live is not None and not followed and _is_alone(run_id):
        live.cancel()


def note_follower(run_id: uuid.UUID) -> None:
    """Note in a running run's row that a process other than its producer reads it. The note holds for NOTE_HOLDS."""
    due = Q(followed_until=None) | Q(followed_until__lt=Now() + RENEWED_BEFORE)
    Run.objects.running().filter(due, pk=run_id).update(followed_until=Now() + NOTE_HOLDS)


def _is_alone(run_id: uuid.UUID) -> bool:
    live = LIVE.get(run_id)
    return live is not None and not live.readers and not services.is_draining()


def _is_followed(run_id: uuid.UUID) -> bool:
    return Run.objects.filter(pk=run_id, followed_until__gt=Now()).exists()
