"""A thread in every process that ends the runs of dead processes, starts queued runs and deletes expired data."""

from __future__ import annotations

import logging
import random
import threading
import time

from django.conf import settings
from django.db import connection

from accounts.key_uses import prune_key_uses
from accounts.password_attempts import forget_delays
from accounts.services import erase_some
from accounts.session_uses import prune_sessions
from accounts.throttling import forget_old
from completions.services import prune_chunks, prune_keys, reap, start_queued
from completions.signals import sweep_finished, sweeping
from completions.spending import release_orphans
from conversations.quota import fold
from conversations.retention import prune_access_log, prune_history
from files.services import finish_abandoned, prune_expired
from foundation.database import StorageError, checkpoint
from foundation.outages import note_failure
from search import timings
from sharing.services import prune_links
from usage import prices
from usage.months import sum_up_months
from usage.warnings import warn_of_budgets

logger = logging.getLogger(__name__)

HOUR, DAY = 3600.0, 86_400.0
MIN_ANALYZED_ROWS = 2_000
_started = threading.Lock()


def start_reaper() -> None:
    """Reap now, and then every SWEEP_SECONDS until the process ends. A second call does not start a second thread."""
    if _started.acquire(blocking=False):
        threading.Thread(target=_sweep_forever, name="reaper", daemon=True).start()


def analyze() -> None:
    """Gather PostgreSQL's statistics for tables that have thousands of rows but no statistics yet.

    PostgreSQL's autovacuum would do it a minute later; until then each look-up of many values scans the whole table.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT relid::regclass::text FROM pg_stat_user_tables WHERE schemaname = current_schema() "
                "AND n_live_tup >= %s AND last_analyze IS NULL AND last_autoanalyze IS NULL",
                [MIN_ANALYZED_ROWS],
            )
            for (table,) in cursor.fetchall():
                cursor.execute(f"ANALYZE (SKIP_LOCKED) {table}")


def _sweep_forever() -> None:
    # A thread, not a task: it must run while the event loop is busy, and before the loop's first request.
    pause = threading.Event()
    chunks_due = time.monotonic()
    # At a random time: not in all processes at once, and not while they start.
    history_due = time.monotonic() + random.uniform(60, 600)  # noqa: S311
    is_warm = False
    while True:
        began, failed = time.monotonic(), True
        try:
            reap()
            if not is_warm:
                prices.warm()
                is_warm = True
            start_queued()
            release_orphans()
            timings.write()
            checkpoint()
            analyze()
            fold()
            warn_of_budgets()
            if time.monotonic() >= chunks_due:
                prune_chunks()
                prune_keys()
                forget_old()
                forget_delays()
                prune_key_uses()
                prune_sessions()
                prune_expired()
                finish_abandoned()
                prune_links()
                sum_up_months()
                chunks_due = time.monotonic() + HOUR
            if time.monotonic() >= history_due:
                prune_history()
                prune_access_log()
                history_due = time.monotonic() + DAY
            sweeping.send(None)
            erase_some()  # last: a failure keeps nothing else from being done
            failed = False
        except StorageError as error:
            note_failure(error)
        except Exception as error:
            logger.warning("reaper: %s, trying again", type(error).__name__)
        finally:
            connection.close()
        sweep_finished.send_robust(None, seconds=time.monotonic() - began, failed=failed)
        pause.wait(settings.SWEEP_SECONDS)
