"""Counters stay exact when several processes count at the same time."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest import mock

from django.db import connection, connections
from django.test import TestCase, override_settings

from accounts import throttling
from chatservice.testing import ServiceTestCase, wait_for_minute


def at(seconds: float) -> Any:
    """Make the database's clock return `seconds`."""
    return mock.patch.object(throttling, "database_clock", return_value=str(seconds))


class CountTest(TestCase):
    def count(self, key: str, seconds: float, amount: int = 1) -> int:
        with at(seconds), connection.cursor() as cursor:
            return throttling.count(cursor, key, amount=amount).used

    def test_a_new_minute_starts_from_nothing(self):
        self.assertEqual([self.count("k", 59.9) for _ in range(3)], [1, 2, 3])
        self.assertEqual(self.count("k", 60.0), 1)
        self.assertEqual(self.count("k", 61.0, amount=5), 6)
        self.assertEqual(self.count("other", 61.0), 1)

    def test_a_window_that_is_over_is_not_added_to_by_a_clock_that_is_behind(self):
        self.count("k", 120.0, amount=9)
        self.assertEqual(self.count("k", 0.0), 1)

    def test_the_wait_ends_with_the_minute(self):
        for now, left in ((0.0, 60), (1.0, 59), (59.0, 1), (59.99, 1), (60.0, 60)):
            with at(now), connection.cursor() as cursor:
                self.assertEqual(throttling.seconds_left(), left)
                self.assertEqual(throttling.count(cursor, "k").seconds_left, left)

    def test_what_is_given_back_is_of_the_same_minute(self):
        self.count("k", 59.0, amount=5)
        for now, left in ((59.9, 4), (60.0, 5)):
            with at(now), connection.cursor() as cursor:
                throttling.give_back(cursor, "k", amount=2)
            self.assertEqual(self.count("k", 59.0), left)

    def test_counting_and_the_wait_are_one_statement(self):
        with self.assertNumQueries(1), connection.cursor() as cursor:
            throttling.count(cursor, "k")

    def test_several_counters_are_one_statement_and_told_apart_beyond_what_is_stored_of_their_names(self):
        long = ["k" * 150, "k" * 140]
        with self.assertNumQueries(1):
            counted = throttling.counting({"a": 2, "b": 3, **dict.fromkeys(long, 1)})()
        self.assertEqual(counted.used, {"a": 2, "b": 3, long[0]: 2, long[1]: 2})
        self.assertEqual(throttling.used(["a", "b", "c"]), {"a": 2, "b": 3})
        with self.assertNumQueries(0):
            self.assertEqual(throttling.counting({})().used, {})

    def test_the_limit_itself_passes_and_one_more_does_not(self):
        key = uuid.uuid4().hex
        waits = [throttling.hit(key, limit=10**9) for _ in range(3)]
        self.assertEqual(waits, [0, 0, 0])
        with connection.cursor() as cursor:
            used = throttling.count(cursor, key).used
        self.assertEqual(throttling.hit(key, limit=used + 1), 0)
        self.assertGreater(throttling.hit(key, limit=used + 1), 0)

    @override_settings(LIMIT_READS_PER_MINUTE=1)
    def test_a_refusal_names_the_limit_its_value_and_its_setting(self):
        key = uuid.uuid4().hex
        wait_for_minute()
        throttling.enforce(key, "LIMIT_READS_PER_MINUTE", "requests")
        with self.assertRaises(throttling.RateLimited) as refused:
            throttling.enforce(key, "LIMIT_READS_PER_MINUTE", "requests")
        self.assertEqual(refused.exception.message, "At most 1 requests a minute (LIMIT_READS_PER_MINUTE).")
        self.assertTrue(1 <= refused.exception.retry_after <= 60)

    def test_zero_is_no_limit(self):
        with self.assertNumQueries(0):
            self.assertEqual(throttling.hit("k", limit=0), 0)


class ConcurrentCountTest(ServiceTestCase):
    def test_many_threads_count_every_one_once(self):
        key = f"test:{uuid.uuid4().hex}"

        def count(_: int) -> list[int]:
            try:
                with connection.cursor() as cursor:
                    return [throttling.count(cursor, key).used for _ in range(5)]
            finally:
                connections.close_all()

        with at(0.0), ThreadPoolExecutor(8) as threads:
            seen = [value for values in threads.map(count, range(16)) for value in values]
        self.assertEqual(sorted(seen), list(range(1, 81)))
