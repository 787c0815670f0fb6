"""A client that falls silent within a pipeline keeps its locks no longer than its transactions may take."""

from __future__ import annotations

import threading
from typing import Any
from unittest import skipUnless

from django.db import OperationalError, connection, transaction
from django.test import TransactionTestCase

from foundation.database import (
    HAS_TRANSACTION_TIMEOUT,
    call_and_release,
    discard_connection,
    lift_time_limit,
    limit_transactions,
)
from foundation.postgresql.base import KEEPALIVES

SECONDS = 2.0  # enough to begin on a busy machine
LOCK = "SELECT pg_advisory_xact_lock(%s)"


@skipUnless(connection.vendor == "postgresql", "a file has no client that could fall silent")
class TransactionLimitTest(TransactionTestCase):
    def lock_and_fall_silent(self) -> None:
        """Begin a pipeline whose end never arrives: to the server, neither idle nor within a statement."""
        try:
            limit_transactions(SECONDS)
            silent: Any = connection.connection
            silent.pgconn.enter_pipeline_mode()
            for statement in (b"BEGIN", b"SELECT pg_advisory_xact_lock(42)"):
                silent.pgconn.send_query_params(statement, None)
            silent.pgconn.send_flush_request()
            silent.pgconn.flush()
            silent.pgconn.get_result()
            self.begun.set()
            self.over.wait(20)
        finally:
            discard_connection()

    def setUp(self) -> None:
        if connection.pg_version < HAS_TRANSACTION_TIMEOUT:
            self.skipTest("PostgreSQL has this limit since 17")
        self.begun, self.over = threading.Event(), threading.Event()
        self.found: Exception | None = None

    def test_its_locks_are_free_once_the_limit_is_over(self) -> None:
        other = threading.Thread(target=self.lock_and_fall_silent, daemon=True)
        other.start()
        self.addCleanup(other.join, 20)
        self.addCleanup(self.over.set)
        self.assertTrue(self.begun.wait(20))
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout TO '15s'")
            cursor.execute(LOCK, [42])
            cursor.execute("RESET lock_timeout")

    def test_the_next_user_of_the_pool_has_no_limit(self) -> None:
        """A long history is stored on a connection of the pool, and staff's report must not end with its limit."""
        found: list[Any] = []

        def look(limited: bool) -> None:
            if limited:
                limit_transactions(SECONDS)
                lift_time_limit()
            with connection.cursor() as cursor:
                cursor.execute("SELECT current_setting('transaction_timeout'), current_setting('statement_timeout')")
                found.append((*cursor.fetchone(), connection.connection.time_limit))

        for limited in (False, True, *[False] * 20):  # the pool gives its connections in turn
            other = threading.Thread(target=call_and_release, args=(look, (limited,)))
            other.start()
            other.join(20)
        self.assertEqual(found[1], (f"{SECONDS:.0f}s", "0", None))
        self.assertEqual(set(found[2:]), {found[0]})
        self.assertEqual(found[0][0], "0")

    def test_the_client_takes_it_for_an_outage(self) -> None:
        def run_too_long() -> None:
            try:
                limit_transactions(SECONDS)
                with transaction.atomic(), connection.cursor() as cursor:
                    cursor.execute("SELECT pg_sleep(20)")
            except Exception as error:
                self.found = error
            finally:
                discard_connection()

        other = threading.Thread(target=run_too_long, daemon=True)
        other.start()
        other.join(20)
        self.assertIsInstance(self.found, OperationalError)

    def test_the_server_asks_a_machine_that_has_gone(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", [list(KEEPALIVES)])
            self.assertEqual(dict(cursor.fetchall()), KEEPALIVES)
