"""What a run is charged: what its server reports, else an estimate of both sides."""

from __future__ import annotations

import uuid
from typing import Any

from django.test import TestCase

from completions.charges import Payer, Sent, charge_for
from completions.run_results import RunResult
from usage.prices import forget_prices
from usage.tests.prices import add_price

PAYER = Payer(uuid.uuid4(), None, "fake/ok")
SENT = Sent(100)
SAID: dict[str, Any] = {"content": "x" * 40, "siblings": ({"content": "x" * 4},)}


def result(status: str = "complete", **fields: Any) -> RunResult:
    return RunResult(uuid.uuid4(), None, None, status, upstream="fake", **fields)


class ChargeTest(TestCase):
    def test_reported_and_estimated_tokens(self) -> None:
        for usage, sent, expected, is_estimate in (
            ({"prompt_tokens": 3, "completion_tokens": 4}, SENT, (3, 4), False),
            ({"prompt_tokens": 3}, SENT, (3, 11), True),
            ({"completion_tokens": 4}, SENT, (100, 4), True),
            (None, SENT, (100, 11), True),
            ({"prompt_tokens": -1, "completion_tokens": True}, SENT, (100, 11), True),
            (None, None, (0, 0), False),
            ({"prompt_tokens": 3, "completion_tokens": 0}, None, (3, 0), False),
        ):
            charge = charge_for(result(usage=usage, sent=sent, **SAID), PAYER)
            self.assertEqual((charge.tokens.input, charge.tokens.output), expected, usage)
            self.assertEqual(charge.is_estimate, is_estimate, usage)

    def test_what_an_upstream_refused_or_never_got_is_not_charged(self) -> None:
        for code in ("upstream_rejected", "upstream_unreachable", "upstream_rate_limited", "upstream_unauthorized"):
            charge = charge_for(result("failed", sent=SENT, error_code=code), PAYER)
            self.assertEqual((charge.tokens.input, charge.failed), (0, True), code)
        for code, content in (("upstream_error", "Half an ans"), ("upstream_truncated", ""), ("upstream_stalled", "")):
            charge = charge_for(result("failed", sent=SENT, error_code=code, content=content), PAYER)
            self.assertEqual((charge.tokens.input, charge.is_estimate), (100, True), code)

    def test_the_cost_is_in_millionths_and_of_the_parts_that_were_used(self) -> None:
        add_price("fake/*", input="2.5", output="10", cached_input="0.25", per_image="0.001")
        forget_prices()
        usage = {
            "prompt_tokens": 1_000,
            "prompt_tokens_details": {"cached_tokens": 400},
            "completion_tokens": 50,
        }
        charge = charge_for(result(usage=usage, sent=Sent(9, pictures=2)), PAYER)
        self.assertEqual(charge.cost, 600 * 2.5 + 400 * 0.25 + 50 * 10 + 2 * 1_000)

    def test_without_a_price_there_is_no_cost(self) -> None:
        self.assertIsNone(charge_for(result(usage={"prompt_tokens": 3}), PAYER).cost)
