"""A short version of every chaos scenario: `make chaos` runs the full ones."""

from __future__ import annotations

import asyncio

import pytest
from django.db import connection, connections

from chatservice.testing import KeptTablesTestCase
from tests.chaos.cluster import kept_processes
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.verdict import Verdict, complaints

# This many rounds show that a scenario still detects errors; all together take about two minutes.
ROUNDS = {
    "kills": 3,
    "cuts": 10,
    "cancels": 8,
    "keys": 5,
    "restarts": 1,
    "canaries": 40,
    "budgets": 3,
    "silence": 3,
    "pressure": 2,
    "stall": 3,
    "pauses": 3,
}
# The second lane mostly waits, for deadlines and leases, so it runs beside the first.
LANES = (("kills", "cuts", "keys", "restarts", "canaries"), ("pressure", "pauses", "silence"))
# The floods of one would delay what others measure, another measures how fast an answer stops, and the budgets of the
# last would refuse everybody's questions.
ALONE = ("cancels", "stall", "budgets")


@pytest.mark.timeout(600)
class ChaosTest(KeptTablesTestCase):
    @pytest.fixture(autouse=True)
    def _seed(self, seed: int) -> None:
        self.seed = seed

    def test_a_short_run_of_each_scenario(self) -> None:
        self.assertEqual({*ROUNDS}, {*SCENARIOS})
        self.assertEqual(sorted(ROUNDS), sorted([*sum(LANES, ()), *ALONE]))
        results = asyncio.run(self._lanes())
        if connection.vendor != "sqlite":
            connections.close_all()
        for name, result in results.items():
            with self.subTest(name, seed=self.seed):
                if isinstance(result, Exception):
                    raise result
                again = f"python -m tests.chaos {name} --rounds {ROUNDS[name]} --seed {self.seed}"
                self.assertFalse(result.violations, f"{complaints([result])}\n{again}")
                self.assertGreater(result.rounds, 0)

    async def _lanes(self) -> dict[str, Verdict | Exception]:
        results: dict[str, Verdict | Exception] = {}
        await asyncio.gather(*(self._lane(each, results) for each in LANES))
        await self._lane(ALONE, results)
        return results

    async def _lane(self, names: tuple[str, ...], results: dict[str, Verdict | Exception]) -> None:
        async with kept_processes():
            for name in names:
                if SCENARIOS[name].needs_postgres and connection.vendor != "postgresql":
                    continue
                try:
                    results[name] = await SCENARIOS[name].run(self.seed, ROUNDS[name])
                except Exception as error:
                    results[name] = error
