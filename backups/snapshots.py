"""A database's snapshot: what was committed at one moment, however much is written meanwhile."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from django.db import connection

Report = Callable[[int], object]
"""Takes how many bytes are written so far."""


class Snapshot(Protocol):
    """One moment of the database. `server` is the version of what keeps it, `taken_at` the moment."""

    server: str
    taken_at: dt.datetime

    def size(self) -> int:
        """Return about how many bytes its copy takes at most."""

    def tables(self) -> dict[str, int]:
        """Count the rows of each table."""

    def migrations(self) -> list[str]:
        """Return the applied migrations, as `app.name`."""

    def contents(self) -> Iterator[tuple[str, str, int]]:
        """Yield the contents that files have: the owner's id in hex, digest, size in bytes."""

    def write_to(self, path: Path, report: Report) -> None:
        """Write a copy; raises BackupError."""


class Database(Protocol):
    """How one kind of database is copied, checked and restored. `copy_name` is the copy's name in a backup."""

    copy_name: str

    def snapshot(self) -> AbstractContextManager[Snapshot]:
        """Hold a snapshot of the service's database; raises BackupError."""

    def check(self, path: Path, expected: dict[str, int]) -> list[str]:
        """Compare a copy's tables with `expected`, and return what could not be checked; raises BackupError."""

    def is_empty(self) -> bool:
        """Tell whether the service's database has no tables."""

    def restore(self, path: Path, *, clean: bool) -> None:
        """Make the service's database equal to a copy; `clean` empties it first. Raises BackupError."""

    def tables(self) -> dict[str, int]:
        """Count the rows of each table of the service's database."""


def database() -> Database:
    """Return how the service's database is copied."""
    if connection.vendor == "sqlite":
        from backups import sqlite

        return sqlite.SQLite()
    from backups import postgresql

    return postgresql.PostgreSQL()


def differences(expected: dict[str, int], found: dict[str, int]) -> str:
    """Return the tables whose numbers of rows differ, as text; empty if there are none."""
    names = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    return ", ".join(f"{name} has {found.get(name, 'no')} rows and not {expected.get(name, 'any')}" for name in names)
