"""Tells whether this process can do its work; load balancers ask before they send requests here."""

from __future__ import annotations

import functools

from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from completions.journal import oldest_wait
from completions.services import is_draining
from foundation.database import StorageError, in_database_thread
from foundation.outages import disk_full, has_room, note_success

MAX_WAIT = 5.0
ANSWER_SECONDS = 3.0


async def problem() -> str:
    """Return what keeps this process from working; empty if nothing does."""
    if is_draining():
        return "draining"
    # Asked first, and without a thread, because all threads may hang.
    if oldest_wait() > MAX_WAIT:
        return "disk full" if disk_full else "storage hangs"
    try:
        return await in_database_thread(_problem_of_database, seconds=ANSWER_SECONDS)
    except (OSError, *StorageError):
        return "database unavailable"


def _problem_of_database() -> str:
    if not has_room():
        return "disk full"
    applied = MigrationRecorder(connection).applied_migrations()
    note_success()
    return "" if _newest_migrations() <= applied.keys() else "migrations not applied"


@functools.cache
def _newest_migrations() -> frozenset[tuple[str, str]]:
    """Return the last migration of each app in this version of the service."""
    return frozenset(MigrationLoader(None).graph.leaf_nodes())
