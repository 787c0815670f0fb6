"""Databases of earlier versions are migrated while somebody reads them, and end with the same schema and the same rows.

`tests/upgrade/dump.py` makes the dumps; every release gets one. What the APIs answer afterwards is compared for the
version before (tests/test_upgrade.py).
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

import psycopg
from django.db import connection

from tests.test_first_version import OlderDatabaseTestCase, schema
from tests.upgrade.databases import DUMPS, load_database

MESSAGES = (
    "SELECT conversations_message.id, role, content, username FROM conversations_message "
    "JOIN conversations_conversation ON conversation_id = conversations_conversation.id "
    "JOIN accounts_user ON owner_id = accounts_user.id ORDER BY 1"
)
SLOWEST_SECONDS = 10.0  # the service's own limit on a statement: a reader that waits longer gets an error


class OlderVersionTest(OlderDatabaseTestCase):
    def test_each_version_is_migrated_while_somebody_reads(self) -> None:
        dumps = sorted(DUMPS.glob(f"*.{'db' if connection.vendor == 'sqlite' else 'sql'}.xz"))
        self.assertGreaterEqual(len(dumps), 3)
        for dump in dumps:
            with self.subTest(dump=dump.name), self.database() as (url, execute):
                load_database(url, dump)
                if connection.vendor == "sqlite":
                    execute("PRAGMA journal_mode=WAL")  # as the service that wrote it had
                before = execute(MESSAGES)
                self.assertGreater(len(before), 20)
                with self.reading(url, before):
                    self.migrate(url)
                self.assertEqual(execute(MESSAGES), before)
                self.assertEqual(usual(schema(execute)), usual(self.new_schema()))

    @contextmanager
    def reading(self, url: str, expected: list[tuple[Any, ...]]) -> Iterator[None]:
        """Read all messages again and again; each read finds all of them, as they were."""
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
                        if reader.execute(MESSAGES).fetchall() != expected:
                            problems.append("other messages")
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
    """Return a schema without what nobody uses: an earlier version made SQLite's index itself, and gave it defaults."""
    if connection.vendor != "sqlite":
        return found
    plain = {tuple(each.replace('"', "") if isinstance(each, str) else each for each in row) for row in found}
    made = ("search_entry", "search_passage")
    return {(*row[:5], None, *row[6:]) if row[0] == "column" and row[1] in made else row for row in plain}


def connected(url: str) -> Any:
    """Return a connection that reads one statement at a time."""
    if connection.vendor == "sqlite":
        return sqlite3.connect(urlsplit(url).path[1:], isolation_level=None, timeout=SLOWEST_SECONDS)
    return psycopg.connect(url, autocommit=True)
