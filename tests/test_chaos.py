"""A short version of every chaos scenario: `make chaos` runs the full ones."""

from __future__ import annotations

import asyncio

import pytest
from django.db import connection, connections

from chatservice.testing import KeptTablesTestCase
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.verdict import complaints

# This many rounds show that a scenario still detects errors; all together take about three minutes.
ROUNDS = {
    "kills": 3,
    "cuts": 18,
    "cancels": 12,
    "keys": 5,
    "restarts": 1,
    "canaries": 60,
    "silence": 3,
    "pressure": 2,
    "stall": 4,
    "pauses": 3,
}


@pytest.mark.timeout(600)
class ChaosTest(KeptTablesTestCase):
    @pytest.fixture(autouse=True)
    def _seed(self, seed: int) -> None:
        self.seed = seed

    def test_a_short_run_of_each_scenario(self) -> None:
        for name, rounds in ROUNDS.items():
            scenario = SCENARIOS[name]
            if scenario.needs_postgres and connection.vendor != "postgresql":
                continue
            with self.subTest(name, seed=self.seed):
                verdict = asyncio.run(scenario.run(self.seed, rounds))
                if connection.vendor != "sqlite":
                    connections.close_all()
                again = f"python -m tests.chaos {name} --rounds {rounds} --seed {self.seed}"
                self.assertFalse(verdict.violations, f"{complaints([verdict])}\n{again}")
                self.assertGreater(verdict.rounds, 0)
