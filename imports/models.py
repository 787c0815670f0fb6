"""Imports of history: one row for each, which is the job, its progress and its report."""

from __future__ import annotations

import datetime as dt
from typing import Self

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from accounts.access import OwnedQuerySet
from accounts.models import User
from foundation.ids import uuid7

LONG_AGO = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)


class HistoryImportQuerySet(OwnedQuerySet["HistoryImport"]):
    def pending(self) -> Self:
        """Return the imports that are not over."""
        return self.filter(state__in=[HistoryImport.State.WAITING, HistoryImport.State.RUNNING])

    def due(self) -> Self:
        """Return the imports on which nobody works: by the database's clock, since another machine may hold a claim."""
        return self.pending().filter(claimed_until__lte=Now())


class HistoryImport(models.Model):
    """The import of one file. `size` and `read` are bytes, unpacked; `size` is 0 until the file is opened.

    `report` has what was not imported: `skipped` conversations and `unread` files as pairs of name and reason, at most
    MAX_REPORTED of each, and `left_out`, numbers by kind. Whoever claims the row moves `claimed_until` into the future;
    a process that dies leaves it to the next one, which begins anew: what is stored already is not added again.
    """

    class State(models.TextChoices):
        WAITING = "waiting"
        RUNNING = "running"
        FINISHED = "finished"
        FAILED = "failed"
        CANCELLED = "cancelled"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    # Without a constraint: the version before does not know these rows, and deletes accounts.
    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+", db_index=False, db_constraint=False)
    # Without a constraint: the file may be deleted once the import is over, and expires.
    file_id = models.UUIDField()
    file_name = models.CharField(max_length=255)
    state = models.CharField(max_length=10, choices=State, default=State.WAITING)
    is_cancelling = models.BooleanField(default=False)
    size = models.PositiveBigIntegerField(default=0)
    read = models.PositiveBigIntegerField(default=0)
    created = models.PositiveIntegerField(default=0)
    extended = models.PositiveIntegerField(default=0)
    unchanged = models.PositiveIntegerField(default=0)
    skipped = models.PositiveIntegerField(default=0)
    messages = models.PositiveIntegerField(default=0)
    files = models.PositiveIntegerField(default=0)
    report = models.JSONField(default=dict)
    error_code = models.CharField(max_length=40, blank=True)
    error = models.CharField(max_length=300, blank=True)
    tries = models.PositiveSmallIntegerField(default=0)
    claimed_until = models.DateTimeField(default=LONG_AGO)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    finished_at = models.DateTimeField(null=True)

    objects = HistoryImportQuerySet.as_manager()

    class Meta:
        constraints = [
            # Two at once would wait for each other at every batch.
            models.UniqueConstraint(
                fields=["owner"], condition=Q(state__in=["waiting", "running"]), name="import_one_at_a_time"
            ),
        ]
        indexes = [
            # An account's imports, newest first.
            models.Index(fields=["owner", "-id"], name="import_owner_newest"),
            # What any process may take, oldest first.
            models.Index(fields=["id"], condition=Q(state__in=["waiting", "running"]), name="import_pending"),
        ]

    def __str__(self) -> str:
        # Not the name of the file, which may say what is in it: this text appears in logs.
        return str(self.id)
