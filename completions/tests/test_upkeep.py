"""Database maintenance outside the group commit: checkpoints on SQLite, statistics on PostgreSQL."""

from __future__ import annotations

import uuid
from unittest import skipUnless

from django.db import connection

from chatservice.testing import KeptTablesTestCase, stop_shared_service, wait_until
from completions.reaper import MIN_ANALYZED_ROWS, analyze
from completions.tests.asking import question, user_says
from completions.tests.committed import CommittedTestCase, finished
from foundation.database import in_database_thread


@skipUnless(connection.vendor == "sqlite", "SQLite's write-ahead log")
class CheckpointTest(CommittedTestCase):
    def setUp(self):
        super().setUp()
        stop_shared_service()  # SQLite resets the log only while nobody reads it, and the service's sweeps read it.

    def test_long_histories_leave_no_long_log_to_a_commit(self):
        async def pages_after(histories: int) -> int:
            for _ in range(histories):
                said = [user_says(f"{uuid.uuid4()} {number}") for number in range(500)]
                await finished(question(self.alice, *said, threaded=True, exclusive=False))
            return await in_database_thread(_copy_log)

        async def scenario() -> tuple[int, int]:
            await pages_after(0)  # what other processes wrote
            return await pages_after(1), await pages_after(5)

        one, five = self.in_loop(scenario)
        self.assertLess(five, 2 * one)


def _copy_log() -> int:
    """Return the number of pages in SQLite's log."""
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA wal_checkpoint(PASSIVE)")
        return int(cursor.fetchone()[1])


@skipUnless(connection.vendor == "postgresql", "PostgreSQL's statistics")
class AnalyzeTest(KeptTablesTestCase):
    def test_a_table_that_fills_at_once_is_analyzed_once(self):
        name = f"filled_{uuid.uuid4().hex}"
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE TABLE {name} AS SELECT generate_series(1, %s)", [MIN_ANALYZED_ROWS])
            self.addCleanup(connection.cursor().execute, f"DROP TABLE {name}")
            cursor.execute("SELECT pg_stat_force_next_flush()")
        wait_until(lambda: self.analyzed(name)[0] >= MIN_ANALYZED_ROWS, what="the count of rows")
        for _ in range(2):
            analyze()
            wait_until(lambda: self.analyzed(name)[1], what="statistics")
        self.assertEqual(self.analyzed(name)[1], 1)

    def analyzed(self, name: str) -> tuple[int, int]:
        """Return PostgreSQL's count of a table's rows, and how often the table was analyzed."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT n_live_tup, analyze_count + autoanalyze_count FROM pg_stat_user_tables WHERE relname = %s",
                [name],
            )
            return cursor.fetchone()
