"""A refusal takes as long for somebody else's id as for an unknown one, so its duration reveals nothing.

Foreign and unknown ids are requested in turn, so that a busy machine slows both. What else it does is added to some
requests and never taken from one, so the faster quarter of them is compared. While it differs, more are measured, up
to 200 pairs: the test fails only if they still differ then, in both halves.
TIMING=all measures 200 pairs of every probe, and prints them: `TIMING=all pytest tests/test_timing.py -s`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from statistics import quantiles

import pytest

from chatservice.testing import tried_on
from tests.matrix import subjects
from tests.matrix.asking import ask
from tests.matrix.rows import Probe, Row
from tests.test_matrix_leaks import MatrixCase, probes

ALLOWED_MS = 2.0
PAIRS = 200
FIRST = 200 if os.environ.get("TIMING") == "all" else 8
STEPS = (24, 72, PAIRS)
# These open a socket for every request, and other operations cover the same look-ups.
BY_SOCKET = ("frame", "subscription")


@tried_on("sqlite")
@pytest.mark.timeout(300)  # up to 200 pairs of many probes, on a busy machine
class TimingTest(MatrixCase):
    def setUp(self) -> None:
        super().setUp()
        self.owner, self.other = subjects.subject_of("alice", self.service), subjects.subject_of("bob", self.service)
        self.keep(self.owner, self.other)
        self.things = subjects.things_of(self.owner, self.service)
        self.other.own = subjects.things_of(self.other, self.service)

    def test_a_foreign_id_takes_as_long_as_an_unknown_one(self) -> None:
        tried = 0
        for row, probe in probes():
            # Only probes that are refused: the others take effect, whoever owns the id.
            if row.kind in BY_SOCKET or probe.outcome not in ("404", "not_found"):
                continue
            tried += 1
            with self.subTest(f"{row.operation}, {probe.position}"):
                pairs = self.measured(row, probe, FIRST)
                for count in STEPS:
                    if abs(difference(pairs)) > ALLOWED_MS:
                        pairs += self.measured(row, probe, count - len(pairs))
                half = len(pairs) // 2
                found = min((difference(part) for part in (pairs[:half], pairs[half:], pairs)), key=abs)
                if FIRST == PAIRS:
                    print(f"{difference(pairs):+7.3f} ms  {row.operation}, {probe.position}")
                self.assertLessEqual(abs(found), ALLOWED_MS, f"ms, of {len(pairs)} pairs")
        self.assertGreater(tried, 20)

    def measured(self, row: Row, probe: Probe, count: int) -> list[tuple[float, float]]:
        """Request a foreign and an unknown id in turn; return the milliseconds of each pair."""
        self.seconds(row, probe, self.things)
        pairs = []
        for number in range(count):
            unknown = subjects.nobodys(self.things)
            if number % 2:  # the order alternates, so that neither always finds warm caches
                foreign, control = self.seconds(row, probe, self.things), self.seconds(row, probe, unknown)
            else:
                control, foreign = self.seconds(row, probe, unknown), self.seconds(row, probe, self.things)
            pairs.append((foreign * 1000, control * 1000))
        return pairs

    def seconds(self, row: Row, probe: Probe, things: dict[str, str]) -> float:
        began = time.perf_counter()
        answer = ask(self.other, self.service, row, probe, things)
        took = time.perf_counter() - began
        self.assertEqual(answer.outcome, probe.outcome, answer.shown)
        return took


def difference(pairs: list[tuple[float, float]]) -> float:
    """Return the lower quartile of the first values minus that of the second values."""
    return quartile(first for first, _ in pairs) - quartile(second for _, second in pairs)


def quartile(values: Iterable[float]) -> float:
    return quantiles(values, n=4, method="inclusive")[0]
