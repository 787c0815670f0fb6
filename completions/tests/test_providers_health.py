"""An upstream that accepts no connection is skipped for a while, then probed once, then trusted again or not."""

from __future__ import annotations

import asyncio
from unittest import IsolatedAsyncioTestCase, TestCase

from completions import exceptions as x
from completions.providers.health import Health
from completions.providers.openai_compatible import OpenAICompatible
from completions.tests.provider_case import asking
from completions.tests.upstream import FaultyUpstream


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class BreakerTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.health = Health("test", clock=self.clock)

    def fail(self, times: int = 1, every: float = 0.0) -> None:  # type: ignore[override]
        for _ in range(times):
            self.health.admit()
            self.health.unreachable()
            self.clock.now += every

    def refused(self) -> int:
        with self.assertRaises(x.UpstreamUnavailable) as raised:
            self.health.admit()
        self.assertEqual((raised.exception.status, raised.exception.code), (503, "upstream_unavailable"))
        return raised.exception.retry_after or 0

    def test_five_failures_within_half_a_minute_open_it_for_ten_seconds(self) -> None:
        self.fail(4)
        self.health.admit()
        self.health.unreachable()
        self.assertEqual(self.refused(), 10)
        self.clock.now += 9.5
        self.assertEqual(self.refused(), 1)
        self.clock.now += 0.5
        self.health.admit()

    def test_failures_that_are_far_apart_do_not(self) -> None:
        self.fail(20, every=8)
        self.health.admit()

    def test_one_success_between_them_starts_the_count_again(self) -> None:
        self.fail(4)
        self.health.admit()
        self.health.reached()
        self.fail(4)
        self.health.admit()

    def test_then_one_probe_decides(self) -> None:
        self.fail(5)
        self.clock.now += 10
        self.health.admit()
        self.refused()  # while the probe is in progress
        self.health.unreachable()
        self.assertEqual(self.refused(), 10)
        self.clock.now += 10
        self.health.admit()
        self.health.reached()
        self.health.admit()
        self.assertEqual(self.health.wait(), 0)

    def test_a_probe_whose_client_left_is_no_verdict(self) -> None:
        self.fail(5)
        self.clock.now += 10
        self.health.admit()
        self.health.abandoned()
        self.health.admit()

    def test_cooling_lasts_a_minute_at_most_and_stops_nobody(self) -> None:
        for asked, wait in ((None, 5), (1, 5), (30, 30), (3600, 60)):
            self.health.cool(asked)
            self.assertEqual(self.health.wait(), wait)
        self.health.admit()
        self.clock.now += 60
        self.assertEqual(self.health.wait(), 0)


class DeadUpstreamTests(IsolatedAsyncioTestCase):
    async def test_requests_to_a_dead_upstream_fail_fast_and_it_is_found_again(self) -> None:
        with FaultyUpstream() as up:
            address = up.base_url
        clock = Clock()
        provider = OpenAICompatible("test", base_url=address, retries=0)
        provider.health._clock = clock
        for kind in [x.UpstreamUnreachable] * 5 + [x.UpstreamUnavailable] * 3:
            with self.assertRaises(kind):
                await provider.complete(asking("ok", stream=False))
        with FaultyUpstream(port=up.port) as up:
            with self.assertRaises(x.UpstreamUnavailable):
                await provider.complete(asking("ok", stream=False))
            clock.now += 10
            await asyncio.gather(*(provider.complete(asking("ok", stream=False)) for _ in range(1)))
            await provider.complete(asking("ok", stream=False))
            self.assertEqual(len(up.posts), 2)
            await provider.close()

    async def test_a_request_that_finds_no_free_connection_is_told_when_to_come_again(self) -> None:
        with FaultyUpstream() as up:
            provider = OpenAICompatible("test", base_url=up.base_url, max_connections=2, connect=0.2, retries=3)
            busy = [asyncio.create_task(provider.complete(asking("no-first-byte", stream=False))) for _ in range(2)]
            while len(up.posts) < 2:
                await asyncio.sleep(0.01)
            with self.assertRaises(x.UpstreamUnavailable) as raised:
                await provider.complete(asking("ok", stream=False))
            self.assertEqual((raised.exception.status, raised.exception.retry_after), (503, 1))
            for task in busy:
                task.cancel()
            await asyncio.gather(*busy, return_exceptions=True)
            for _ in range(5):  # cancelled and refused requests no longer count as active
                await provider.complete(asking("ok", stream=False))
                with self.assertRaises(x.UpstreamFailed):
                    await provider.complete(asking("http-500", stream=False))
            self.assertEqual(len(up.posts), 12)
            await provider.close()
