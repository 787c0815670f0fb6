"""Counting is exact, whoever counts at the same time."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor

from django.db import connection, connections
from django.test import TestCase

from accounts import throttling
from chatservice.testing import ServiceTestCase


class CountTest(TestCase):
    def test_a_new_minute_starts_from_nothing(self):
        with connection.cursor() as cursor:
            self.assertEqual([throttling.count(cursor, "k", clock=lambda: 59.9) for _ in range(3)], [1, 2, 3])
            self.assertEqual(throttling.count(cursor, "k", clock=lambda: 60.0), 1)
            self.assertEqual(throttling.count(cursor, "k", amount=5, clock=lambda: 61.0), 6)
            self.assertEqual(throttling.count(cursor, "other", clock=lambda: 61.0), 1)

    def test_a_window_that_is_over_is_not_added_to_by_a_clock_that_is_behind(self):
        with connection.cursor() as cursor:
            throttling.count(cursor, "k", amount=9, clock=lambda: 120.0)
            self.assertEqual(throttling.count(cursor, "k", clock=lambda: 0.0), 1)

    def test_the_wait_ends_with_the_minute(self):
        for now, left in ((0.0, 60), (1.0, 59), (59.0, 1), (59.99, 1), (60.0, 60)):
            self.assertEqual(throttling.seconds_left(iter([now]).__next__), left)

    def test_the_limit_itself_passes_and_one_more_does_not(self):
        key = uuid.uuid4().hex
        waits = [throttling.hit(key, limit=10**9) for _ in range(3)]
        self.assertEqual(waits, [0, 0, 0])
        with connection.cursor() as cursor:
            used = throttling.count(cursor, key)
        self.assertEqual(throttling.hit(key, limit=used + 1), 0)
        self.assertGreater(throttling.hit(key, limit=used + 1), 0)

    def test_zero_is_no_limit(self):
        with self.assertNumQueries(0):
            self.assertEqual(throttling.hit("k", limit=0), 0)


class ConcurrentCountTest(ServiceTestCase):
    def test_many_threads_count_every_one_once(self):
        key = f"test:{uuid.uuid4().hex}"

        def count(_: int) -> list[int]:
            try:
                with connection.cursor() as cursor:
                    return [throttling.count(cursor, key, clock=lambda: 0.0) for _ in range(5)]
            finally:
                connections.close_all()

        with ThreadPoolExecutor(8) as threads:
            seen = [value for values in threads.map(count, range(16)) for value in values]
        self.assertEqual(sorted(seen), list(range(1, 81)))
