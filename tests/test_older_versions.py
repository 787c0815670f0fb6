"""Databases of earlier versions are migrated while somebody reads them, and end with the same schema and the same rows.

`tests/upgrade/dump.py` makes the dumps; every release gets one. What the APIs answer afterwards is compared for the
version before (tests/test_upgrade.py).
"""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from django.db import connection

from tests.test_first_version import OlderDatabaseTestCase, schema
from tests.upgrade.databases import DUMPS, load_database

# One table each: a statement that reads several ones may meet a deadlock with a migration that changes them on
# PostgreSQL, which docs/upgrading.md tells.
READS = (
    "SELECT id, role, content, conversation_id FROM conversations_message ORDER BY 1",
    "SELECT id, owner_id FROM conversations_conversation ORDER BY 1",
    "SELECT id, username FROM accounts_user ORDER BY 1",
)
SLOWEST_SECONDS = 10.0  # the service's own limit on a statement: a reader that waits longer gets an error


@pytest.mark.timeout(300)
class OlderVersionTest(OlderDatabaseTestCase):
    def test_each_version_is_migrated_while_somebody_reads(self) -> None:
        dumps = sorted(DUMPS.glob(f"*.{'db' if connection.vendor == 'sqlite' else 'sql'}.xz"))
        self.assertGreaterEqual(len(dumps), 3)
        for dump in dumps:
            with self.subTest(dump=dump.name), self.database() as (url, execute):
                load_database(url, dump)
                if connection.vendor == "sqlite":
                    execute("PRAGMA journal_mode=WAL")  # as the service that wrote it had
                before = [execute(statement) for statement in READS]
                self.assertGreater(len(before[0]), 20)
                with self.reading(url, before):
                    self.migrate(url)
                self.assertEqual([execute(statement) for statement in READS], before)
                self.assertEqual(usual(schema(execute)), usual(self.new_schema()))

    @contextmanager
    def reading(self, url: str, expected: list[list[tuple[Any, ...]]]) -> Iterator[None]:
        """Read again and again; each read finds everything as it was."""
        over = threading.Event()
        problems: list[str] = []
        longest = 0.0
        reads = 0

        def read() -> None:
            nonlocal longest, reads
            with closing(connected(url)) as reader:
                while not over.is_set():
                    began = time.monotonic()
                    try:
                        if [reader.execute(statement).fetchall() for statement in READS] != expected:
                            problems.append("other rows")
                    except Exception as error:
                        problems.append(repr(error))
                    longest, reads = max(longest, time.monotonic() - began), reads + 1
                    over.wait(0.01)

        thread = threading.Thread(target=read)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(60)
        self.assertEqual(problems, [])
        self.assertGreater(reads, 10)
        self.assertLess(longest, SLOWEST_SECONDS)


def usual(found: set[tuple[Any, ...]]) -> set[tuple[Any, ...]]:
    """Return a schema without differences that mean nothing.

    An earlier version made SQLite's index itself, and gave it defaults; PostgreSQL writes the casts of a condition
    differently once it has read them from a dump.
    """
    noise = re.compile(r'"' if connection.vendor == "sqlite" else r"::(character varying|text)(\[\])?|[()]")
    plain = {tuple(noise.sub("", each) if isinstance(each, str) else each for each in row) for row in found}
    if connection.vendor != "sqlite":
        return plain
    made = ("search_entry", "search_passage")
    return {(*row[:5], None, *row[6:]) if row[0] == "column" and row[1] in made else row for row in plain}


def connected(url: str) -> Any:
    """Return a connection that reads one statement at a time."""
    if connection.vendor == "sqlite":
        return sqlite3.connect(urlsplit(url).path[1:], isolation_level=None, timeout=SLOWEST_SECONDS)
    return psycopg.connect(url, autocommit=True)
