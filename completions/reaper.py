"""A thread in every process that ends the runs of processes which are no more, and deletes what is past its time."""

from __future__ import annotations

import logging
import random
import threading
import time

from django.conf import settings
from django.db import connection

from accounts.throttling import forget_old
from completions.services import prune_chunks, prune_keys, reap
from conversations.retention import prune_history, prune_looks
from search import timings

logger = logging.getLogger(__name__)

HOUR, DAY = 3600.0, 86_400.0
_started = threading.Lock()


def start_reaper() -> None:
    """Reap now and then every SWEEP_SECONDS, until the process ends. Starting twice starts one."""
    if _started.acquire(blocking=False):
        threading.Thread(target=_sweep_forever, name="reaper", daemon=True).start()


def _sweep_forever() -> None:
    # A thread, not a task: it must go on while the event loop is busy, and before its first request.
    pause = threading.Event()
    chunks_due = time.monotonic()
    # Not every process of many at the same moment, and not while one is starting.
    history_due = time.monotonic() + random.uniform(60, 600)  # noqa: S311
    while True:
        try:
            reap()
            timings.write()
            if time.monotonic() >= chunks_due:
                prune_chunks()
                prune_keys()
                forget_old()
                chunks_due = time.monotonic() + HOUR
            if time.monotonic() >= history_due:
                prune_history()
                prune_looks()
                history_due = time.monotonic() + DAY
        except Exception as error:
            logger.warning("reaper: %s, trying again", type(error).__name__)
        finally:
            connection.close()
        pause.wait(settings.SWEEP_SECONDS)
