"""A thread in every process that ends the runs of processes which are no more."""

from __future__ import annotations

import logging
import threading
import time

from django.conf import settings
from django.db import connection

from completions.services import prune_chunks, prune_keys, reap

logger = logging.getLogger(__name__)

PRUNE_SECONDS = 3600
_started = threading.Lock()


def start_reaper() -> None:
    """Reap now and then every SWEEP_SECONDS, until the process ends. Starting twice starts one."""
    if _started.acquire(blocking=False):
        threading.Thread(target=_sweep_forever, name="reaper", daemon=True).start()


def _sweep_forever() -> None:
    # A thread, not a task: it must go on while the event loop is busy, and before its first request.
    pause = threading.Event()
    pruned_at = 0.0
    while True:
        try:
            reap()
            if time.monotonic() - pruned_at > PRUNE_SECONDS:
                prune_chunks()
                prune_keys()
                pruned_at = time.monotonic()
        except Exception as error:
            logger.warning("reaper: %s, trying again", type(error).__name__)
        finally:
            connection.close()
        pause.wait(settings.SWEEP_SECONDS)
