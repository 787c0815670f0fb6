"""Erases an account's data that no foreign key refers to: sessions, counters, admin log, SQLite's old pages."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.models import Session
from django.db import connection
from django.db.models import QuerySet

from accounts.models import PasswordDelay, RateWindow, User
from accounts.password_attempts import account_hash

logger = logging.getLogger(__name__)

ROWS = 500
CHECKPOINT_SECONDS = 5.0  # longer than another checkpoint takes


def sessions_of(user: User) -> Iterator[Session]:
    """Yield the sessions in which `user` is signed in."""
    yield from _sessions({str(user.pk)})


def _sessions(user_ids: set[str]) -> Iterator[Session]:
    """Yield the sessions of these users. All sessions are read, because only a decoded one tells its user."""
    rows = Session.objects.order_by("session_key")
    page = list(rows[:ROWS])
    while page:
        yield from [session for session in page if session.get_decoded().get(SESSION_KEY) in user_ids]
        page = list(rows.filter(session_key__gt=page[-1].session_key)[:ROWS])


def counters_of(user: User) -> Iterator[RateWindow]:
    yield from _counters(user.pk)


def _counters(user_id: uuid.UUID) -> QuerySet[RateWindow]:
    return RateWindow.objects.filter(key__contains=user_id.hex)


def delete_sessions(user_ids: Iterable[uuid.UUID], *, but: str | None = None) -> None:
    """Sign these users out everywhere, but in the session of this name."""
    found = _sessions({str(user_id) for user_id in user_ids})
    ended = [session.session_key for session in found if session.session_key != but]
    for at in range(0, len(ended), ROWS):
        Session.objects.filter(session_key__in=ended[at : at + ROWS]).delete()


def erase_personal_data(user: User) -> None:
    """Delete an account's sessions, counters and delays; in the admin's log, keep only its id."""
    delete_sessions([user.pk])
    _counters(user.pk).delete()
    PasswordDelay.objects.filter(account=account_hash(user.username)).delete()
    _anonymize(LogEntry.objects.filter(content_type__app_label="accounts", object_id=str(user.pk)))
    for key_id in user.api_keys.values_list("pk", flat=True):
        _anonymize(LogEntry.objects.filter(content_type__app_label="accounts", object_id=str(key_id)))


def anonymize_admin_log(app_label: str, object_ids: QuerySet[Any, Any]) -> None:
    """Remove names and changes from the admin's log entries about these objects, given by a queryset of ids."""
    entries = LogEntry.objects.filter(content_type__app_label=app_label)
    named = set(entries.exclude(object_repr="").values_list("object_id", flat=True))
    mine = {str(pk) for pk in object_ids.iterator()} if named else set()
    _anonymize(entries.filter(object_id__in=named & mine))


def _anonymize(entries: QuerySet[LogEntry]) -> None:
    entries.update(object_repr="", change_message="")


def truncate_write_ahead_log() -> None:
    """Empty SQLite's write-ahead log, which still contains the old pages; call it outside of a transaction."""
    if connection.vendor != "sqlite":
        return
    # SQLite itself waits for readers and writers, but fails at once during another checkpoint, such as the reaper's.
    until = time.monotonic() + CHECKPOINT_SECONDS
    while not _is_truncated():
        if time.monotonic() > until:
            logger.warning("the write-ahead log is in use: deleted rows stay in it until the next checkpoint")
            return
        time.sleep(0.05)


def _is_truncated() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        busy, *_ = cursor.fetchone()
    return not busy
