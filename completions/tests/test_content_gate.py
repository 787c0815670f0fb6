"""Content passes in order, never more than the limit, and nobody who leaves keeps the others waiting."""

from __future__ import annotations

import asyncio
import random

from django.test import SimpleTestCase

from completions.content_gate import ContentGate


class ContentGateTest(SimpleTestCase):
    async def test_there_is_never_more_inside_than_the_limit(self) -> None:
        gate, inside, most = ContentGate(100), 0, 0

        async def pass_through(size: int) -> None:
            nonlocal inside, most
            async with gate.passing(size):
                inside += min(size, 100)
                most = max(most, inside)
                await asyncio.sleep(0)
                inside -= min(size, 100)

        await asyncio.gather(*(pass_through(random.randrange(200)) for _ in range(300)))
        self.assertLessEqual(most, 100)
        self.assertEqual(inside, 0)

    async def test_small_ones_do_not_overtake_a_large_one(self) -> None:
        gate, order = ContentGate(10), []
        first = gate.passing(6)
        await first.__aenter__()

        async def pass_through(size: int) -> None:
            async with gate.passing(size):
                order.append(size)

        tasks = [asyncio.create_task(pass_through(size)) for size in (9, 1, 2)]
        for _ in range(5):
            await asyncio.sleep(0)
        self.assertEqual(order, [])
        await first.__aexit__(None, None, None)
        await asyncio.gather(*tasks)
        self.assertEqual(order, [9, 1, 2])

    async def test_whoever_is_cancelled_lets_the_others_pass(self) -> None:
        for at_once in (False, True):  # before or after the turn has come
            gate = ContentGate(10)
            first = gate.passing(10)
            await first.__aenter__()

            async def pass_through(gate: ContentGate = gate) -> bool:
                async with gate.passing(10):
                    return True

            left, stays = asyncio.create_task(pass_through()), asyncio.create_task(pass_through())
            await asyncio.sleep(0)
            if at_once:
                await first.__aexit__(None, None, None)
            left.cancel()
            await asyncio.gather(left, return_exceptions=True)
            if not at_once:
                await first.__aexit__(None, None, None)
            self.assertTrue(await asyncio.wait_for(stays, 5))
            self.assertTrue(await asyncio.wait_for(pass_through(), 5))
