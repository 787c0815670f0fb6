"""Classifies the database's errors, and logs one line per outage, not one per request."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from pathlib import Path

from django.db import connection, transaction

from foundation.database import StorageError

logger = logging.getLogger(__name__)

# An error after this long without one counts as the beginning of a new outage.
QUIET_SECONDS = 60.0
# A statement that began during an outage may fail so much later: it begins no other one.
LATE_SECONDS = 1.0
# The free space below which the next answer may not fit.
SPARE_BYTES = 1 << 20


DISK_FULL = ("53100", "SQLITE_FULL")
# The statement itself is wrong or too large, so retrying does not help.
WRONG = ("54", "SQLITE_ERROR", "SQLITE_TOOBIG")


def code_of(error: BaseException) -> str:
    """Return the database's own code for an error: PostgreSQL's SQLSTATE or SQLite's name; '' if it has none."""
    for each in (error, error.__cause__):
        if code := getattr(each, "sqlstate", None) or getattr(each, "sqlite_errorname", None):
            return str(code)
    return ""


def is_passing(error: BaseException | None) -> bool:
    """Tell whether the database is the cause, so that a later retry may help."""
    return isinstance(error, StorageError) and not code_of(error).startswith(WRONG)


def is_disk_full(error: BaseException) -> bool:
    """Tell whether the disk is full, that of the SQLite file or of PostgreSQL."""
    return code_of(error) in DISK_FULL


class _Outage:
    """One kind of outage: logged once when it begins, and once when it is over."""

    def __init__(self, begins: str, over: str) -> None:
        self._begins, self._over = begins, over
        self._lock = threading.Lock()
        self._heard_at: float | None = None
        self._over_at = -LATE_SECONDS

    def __bool__(self) -> bool:
        return self._heard_at is not None

    def note(self, why: str) -> None:
        now = time.monotonic()
        with self._lock:
            if self._heard_at is None and now - self._over_at < LATE_SECONDS:
                return
            said = self._heard_at is not None and now - self._heard_at < QUIET_SECONDS
            self._heard_at = now
        if not said:
            logger.warning(self._begins, why)

    def end(self) -> None:
        with self._lock:
            was, self._heard_at = self._heard_at, None
            if was is not None:
                self._over_at = time.monotonic()
        if was is not None:
            logger.warning(self._over)


away = _Outage("the database does not answer (%s); requests get 503 until it does", "the database answers again")
disk_full = _Outage("the disk of the database is full (%s); nothing can be stored", "the disk has room again")


def note_failure(error: BaseException) -> None:
    """Log an error of the database, once per outage."""
    told = error.__cause__ if isinstance(error, StorageError) and error.__cause__ else error
    # Only the type: the message may contain addresses and values.
    (disk_full if is_disk_full(error) else away).note(type(told).__name__)


class NoOutages(logging.Filter):
    """Keeps the log lines and tracebacks of requests during an outage out of the log: `note_failure` logs it once."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return getattr(record, "status_code", None) != 503 and not is_passing(error)


def note_success() -> None:
    """Log once that the database answers again. A database with a full disk also answers: see `has_room`."""
    if away:
        away.end()


def has_room() -> bool:
    """Tell whether the disk has room; uses the database's connection. For SQLite the file's disk is checked.

    PostgreSQL's disk can only be checked by writing to it, which is done only after it was full.
    """
    try:
        if connection.vendor == "sqlite":
            room = shutil.disk_usage(Path(connection.settings_dict["NAME"]).parent).free >= SPARE_BYTES
        else:
            room = not disk_full or _fits_into_table()
    except StorageError as error:
        if not is_disk_full(error):
            raise
        room = False
    if room:
        disk_full.end()
    else:
        disk_full.note("no room")
    return room


def _fits_into_table() -> bool:
    """Allocate space where the tables are, and roll back. An update would prove nothing: it reuses old space."""
    row, rows = "x" * 1900, SPARE_BYTES // 2048  # each too short to be compressed
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE room AS SELECT %s FROM generate_series(1, %s)", [row, rows])
        transaction.set_rollback(True)
    return True
