"""The limit on an upstream's silence counts only the time in which somebody waits for the upstream."""

from __future__ import annotations

import asyncio
import time
import unittest

from completions.providers.clock import ContentClock

LIMIT = 1.0


class ContentClockTest(unittest.IsolatedAsyncioTestCase):
    async def test_the_time_of_the_consumer_does_not_count(self) -> None:
        """Storing may take nearly as long as the limit: what arrives soon after that is in time."""
        with ContentClock(LIMIT) as clock:
            clock.reading()
            clock.paused()
            clock.touch()
            await asyncio.sleep(0.9 * LIMIT)
            clock.reading()
            await asyncio.sleep(0.3 * LIMIT)
            clock.paused()

    async def test_silence_after_a_pause_is_interrupted(self) -> None:
        with ContentClock(LIMIT) as clock:
            await asyncio.sleep(0.9 * LIMIT)
            began = time.monotonic()
            clock.reading()
            with self.assertRaises(asyncio.CancelledError):
                await asyncio.sleep(30)
            self.assertTrue(clock.expired())
        self.assertGreaterEqual(time.monotonic() - began, 0.9 * LIMIT)
        self.assertLess(time.monotonic() - began, 10)
