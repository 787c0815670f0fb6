"""What an account leaves in tables that do not refer to it: sessions, counters, the admin's log, and dead pages."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator

from django.contrib.admin.models import LogEntry
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.models import Session
from django.db import connection
from django.db.models import QuerySet

from accounts.models import RateWindow, User

logger = logging.getLogger(__name__)

ROWS = 500


def sessions_of(user: User) -> Iterator[Session]:
    """Yield the sessions in which `user` is signed in: they tell it only when they are opened."""
    rows = Session.objects.order_by("session_key")
    page = list(rows[:ROWS])
    while page:
        yield from [session for session in page if session.get_decoded().get(SESSION_KEY) == str(user.pk)]
        page = list(rows.filter(session_key__gt=page[-1].session_key)[:ROWS])


def counters_of(user: User) -> Iterator[RateWindow]:
    yield from _counters(user.pk)


def _counters(user_id: uuid.UUID) -> QuerySet[RateWindow]:
    return RateWindow.objects.filter(key__contains=user_id.hex)


def forget_traces(user: User) -> None:
    """Delete them; of what the admin's log says about the account only its id stays."""
    Session.objects.filter(session_key__in=[session.session_key for session in sessions_of(user)]).delete()
    _counters(user.pk).delete()
    _nameless(LogEntry.objects.filter(content_type__app_label="accounts", object_id=str(user.pk)))
    for key_id in user.api_keys.values_list("pk", flat=True):
        _nameless(LogEntry.objects.filter(content_type__app_label="accounts", object_id=str(key_id)))


def forget_in_admin_log(app_label: str, object_ids: QuerySet) -> None:
    """Take names out of what the admin's log says about these objects, given as a queryset of their ids."""
    entries = LogEntry.objects.filter(content_type__app_label=app_label)
    named = set(entries.exclude(object_repr="").values_list("object_id", flat=True))
    mine = {str(pk) for pk in object_ids.iterator()} if named else set()
    _nameless(entries.filter(object_id__in=named & mine))


def _nameless(entries: QuerySet[LogEntry]) -> None:
    entries.update(object_repr="", change_message="")


def leave_nothing_behind() -> None:
    """Empty SQLite's write-ahead file, which still has the pages as they were; call it outside of a transaction."""
    if connection.vendor != "sqlite":
        return
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        busy, *_ = cursor.fetchone()
    if busy:
        logger.warning("the write-ahead file is in use: deleted rows are in it until the next checkpoint")
