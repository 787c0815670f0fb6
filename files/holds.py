"""Keeps contents in the storage while a backup copies those that its snapshot of the database refers to.

A hold is a row, so every process respects it. Files can be deleted meanwhile: only their contents stay until the hold
ends. One of a process that died expires like any other change.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction
from django.utils import timezone

from files.models import HELD, NOBODY, ContentChange
from files.services import finish_abandoned

RENEW_SECONDS = 60.0


def release_all_holds() -> None:
    """Release the holds that a restored database has: the backup that made them is over."""
    ContentChange.objects.of(NOBODY, HELD).delete()


class Hold:
    """Deletes no content of any file while it lasts; call `renew` now and then, at least every hour."""

    def __init__(self) -> None:
        self._row = ContentChange(owner_id=NOBODY, sha256=HELD)
        self._renewed = time.monotonic()

    def renew(self) -> None:
        if time.monotonic() > self._renewed + RENEW_SECONDS:
            ContentChange.objects.filter(pk=self._row.pk).update(created_at=timezone.now())
            self._renewed = time.monotonic()

    @contextmanager
    def held(self) -> Iterator[Hold]:
        with transaction.atomic():
            if connection.vendor == "postgresql":
                with connection.cursor() as cursor:
                    # Waits for deletions that have not seen the hold; SQLite has one writer anyway.
                    cursor.execute(f"LOCK TABLE {ContentChange._meta.db_table} IN EXCLUSIVE MODE")
            self._row.save(force_insert=True)
        try:
            yield self
        finally:
            ContentChange.objects.filter(pk=self._row.pk).delete()
            finish_abandoned()
