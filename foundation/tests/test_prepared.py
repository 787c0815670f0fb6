"""Statements that are kept planned take parameters and percent signs as all others do."""

from __future__ import annotations

from unittest import skipUnless

from django.db import connection, transaction
from django.test import TestCase

from foundation.database import prepared_cursor, send_statement
from foundation.postgresql.prepared import numbered


class NumberedTest(TestCase):
    def test_each_placeholder_gets_its_number_and_percent_signs_stay_one(self):
        self.assertEqual(numbered("a = %s AND b LIKE 'x%%' OR %%s = %s"), "a = $1 AND b LIKE 'x%' OR %s = $2")

    def test_the_same_rows_as_from_a_plain_cursor(self):
        statement, like = "SELECT %s + 1, 'a%%' LIKE %s, CAST(%s AS text)", "a_"
        with connection.cursor() as cursor:
            cursor.execute(statement, [1, like, None])
            expected = cursor.fetchall()
        with prepared_cursor() as cursor:
            for _ in range(9):  # before it is kept, and afterwards
                cursor.execute(statement, [1, like, None])
                self.assertEqual(cursor.fetchall(), expected)
            cursor.execute("SELECT 'a%'")
            self.assertEqual(cursor.fetchone(), ("a%",))

    @skipUnless(connection.vendor == "postgresql", "SQLite runs a statement when it gets it")
    def test_what_is_asked_for_is_sent_at_once_and_fetched_later(self):
        with transaction.atomic():
            with connection.connection.pipeline():
                fetches = [send_statement("SELECT %s + 1", [number]) for number in range(3)]
            self.assertEqual([fetch() for fetch in fetches], [[(1,)], [(2,)], [(3,)]])

    @skipUnless(connection.vendor == "postgresql", "SQLite has one type of integer")
    def test_one_statement_is_kept_whatever_the_size_of_its_numbers(self):
        statement = "SELECT CAST(%s AS bigint) AS kept_once"
        with prepared_cursor() as cursor:
            for number in [1, 40_000, 2**40] * 9:
                cursor.execute(statement, [number])
                self.assertEqual(cursor.fetchone(), (number,))
            cursor.execute("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%kept_once'")
            self.assertEqual(cursor.fetchone(), (1,))
