"""SQLite's online backup: the file is copied while others write to it."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from django.db import connection

from backups.exceptions import BackupError
from backups.snapshots import Report, differences
from files.storage import sync

STEP_PAGES = 1_024
NAMES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~' AND NOT sql LIKE "
NAMES += "'CREATE VIRTUAL%' ORDER BY name"


class SQLiteSnapshot:
    """A read transaction: in WAL mode nobody waits for it, and what others commit meanwhile is not in it.

    It is what makes the backup end: without it, SQLite begins anew with each commit of another process.
    """

    def __init__(self, file: sqlite3.Connection) -> None:
        self._file = file
        self.server = f"SQLite {sqlite3.sqlite_version}"
        file.execute("BEGIN")
        file.execute("SELECT 1 FROM sqlite_master").fetchone()  # takes the snapshot
        self.taken_at = dt.datetime.now(dt.UTC)

    def size(self) -> int:
        [pages], [page_bytes] = (self._file.execute(f"PRAGMA page_{name}").fetchone() for name in ("count", "size"))
        return int(pages * page_bytes)

    def tables(self) -> dict[str, int]:
        return _tables(self._file)

    def migrations(self) -> list[str]:
        return _migrations(self._file)

    def contents(self) -> Iterator[tuple[str, str, int]]:
        rows = self._file.execute("SELECT DISTINCT owner_id, sha256, size FROM files_file ORDER BY 1, 2")
        yield from rows

    def write_to(self, path: Path, report: Report) -> None:
        page_bytes = self._file.execute("PRAGMA page_size").fetchone()[0]

        def advance(status: int, remaining: int, total: int) -> None:
            report((total - remaining) * page_bytes)

        try:
            with closing(sqlite3.connect(path)) as copy:
                self._file.backup(copy, pages=STEP_PAGES, progress=advance, sleep=0)
        except sqlite3.Error as error:
            raise BackupError(f"The database could not be copied: {error}.") from error


class SQLite:
    copy_name = "database.sqlite3"

    @contextmanager
    def snapshot(self) -> Iterator[SQLiteSnapshot]:
        path = _path()
        if not path.exists():
            raise BackupError(f"There is no database at {path} yet.")
        with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as file:
            yield SQLiteSnapshot(file)

    def check(self, path: Path, expected: dict[str, int]) -> list[str]:
        try:
            with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as file:
                found = [row[0] for row in file.execute("PRAGMA integrity_check")]
                if found != ["ok"]:
                    raise BackupError(f"{path} is damaged: {'; '.join(found[:5])}.")
                if broken := file.execute("PRAGMA foreign_key_check").fetchall():
                    raise BackupError(f"{path} has {len(broken)} rows that refer to nothing.")
                if different := differences(expected, _tables(file)):
                    raise BackupError(f"{path} is not what was copied: {different}.")
        except sqlite3.Error as error:
            raise BackupError(f"{path} is damaged: {error}.") from error
        return []

    def is_empty(self) -> bool:
        path = _path()
        if not path.exists():
            return True
        with closing(sqlite3.connect(path)) as file:
            return not _tables(file)

    def restore(self, path: Path, *, clean: bool) -> None:
        target = _path()
        connection.close()
        if target.exists():
            _close_for_all(target)
        draft = target.with_name(f".{target.name}.restoring")
        draft.unlink(missing_ok=True)
        try:
            os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))  # private before it has content
            shutil.copyfile(path, draft)
            sync(draft)
            # SQLite would add a log that another file left here to this one.
            for left in ("-wal", "-shm"):
                Path(f"{target}{left}").unlink(missing_ok=True)
            draft.replace(target)
            sync(target.parent)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise BackupError(f"The database could not be written to {target}: {error}.") from error

    def tables(self) -> dict[str, int]:
        with closing(sqlite3.connect(_path())) as file:
            return _tables(file)


def _path() -> Path:
    name = str(connection.settings_dict["NAME"])
    if name == ":memory:" or name.startswith("file:"):
        raise BackupError("A database in memory cannot be backed up or restored.")
    return Path(name)


def _close_for_all(target: Path) -> None:
    """Empty the log into the file, and remove it: SQLite does so only if nobody else has the file open."""
    busy = BackupError(f"{target} is in use: stop the service first.")
    try:
        with closing(sqlite3.connect(target, isolation_level=None, timeout=1)) as file:
            [mode] = file.execute("PRAGMA journal_mode=DELETE").fetchone()
    except sqlite3.OperationalError as error:
        raise busy from error
    if mode != "delete":
        raise busy


def _tables(file: sqlite3.Connection) -> dict[str, int]:
    names = [row[0] for row in file.execute(NAMES)]
    return {name: file.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in names}


def _migrations(file: sqlite3.Connection) -> list[str]:
    return [f"{app}.{name}" for app, name in file.execute("SELECT app, name FROM django_migrations ORDER BY id")]
