"""Values and clauses for SQL that is written out: as each of the two databases wants them."""

from __future__ import annotations

import datetime as dt
import functools
import uuid
from collections.abc import Collection
from typing import Any

from django.db import connection


def key(value: Any) -> Any:
    """Return a UUID as this database's driver wants it."""
    return value if value is None or _has_native_ids() else value.hex


def read_key(value: Any) -> uuid.UUID:
    """Return the UUID for a value that this database's driver returned: SQLite has no UUID type."""
    return uuid.UUID(value) if isinstance(value, str) else value


def read_time(value: dt.datetime) -> dt.datetime:
    """Return the time for a value that this database's driver returned: SQLite stores no zone, and all is in UTC."""
    return value if value.tzinfo else value.replace(tzinfo=dt.UTC)


@functools.cache
def _has_native_ids() -> bool:
    return connection.features.has_native_uuid_field


def marks(values: Collection[Any]) -> str:
    """Return the placeholders of a list of values."""
    return ", ".join(["%s"] * len(values))


def for_update(strength: str = "UPDATE") -> str:
    """Return the row lock clause; empty on SQLite, which has no row locks and only one writer at a time."""
    return f" FOR {strength}" if connection.features.has_select_for_update else ""
