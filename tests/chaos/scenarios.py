"""All scenarios by name, each with the number of rounds in a full run."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from tests.chaos import (
    budgets,
    canaries,
    cancels,
    cuts,
    keys,
    kills,
    pauses,
    pressure,
    restarts,
    silence,
    stall,
)
from tests.chaos.verdict import Verdict


class Scenario(NamedTuple):
    run: Callable[[int, int], Coroutine[Any, Any, Verdict]]
    full: int
    needs_postgres: bool = False


SCENARIOS = {
    "kills": Scenario(kills.run, 200),
    "cuts": Scenario(cuts.run, 2000),
    "cancels": Scenario(cancels.run, 200),
    "keys": Scenario(keys.run, 1000),
    "restarts": Scenario(restarts.run, 50),
    "canaries": Scenario(canaries.run, 10_000),
    "silence": Scenario(silence.run, 100),
    "pressure": Scenario(pressure.run, pressure.CROWD),
    "budgets": Scenario(budgets.run, 200),
    "stall": Scenario(stall.run, stall.SECONDS),
    # On SQLite a process stopped inside a transaction blocks all others, so there is no promise to test.
    "pauses": Scenario(pauses.run, 50, needs_postgres=True),
}
