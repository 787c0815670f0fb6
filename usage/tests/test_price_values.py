"""What a request costs: exact, in whole millionths, whatever the upstream reports."""

from __future__ import annotations

from decimal import Decimal

from django.test import SimpleTestCase

from usage.price_values import Price, Rates, Tokens


def price(**rates: str) -> Price:
    given = {"input": "0", "cached_input": "0", "output": "0", "reasoning": "0", "per_image": "0", "per_request": "0"}
    values = {name: Decimal(value) for name, value in (given | rates).items()}
    return Price("own", "USD", None, Rates(**values).calculate)


class CostTest(SimpleTestCase):
    def test_cached_is_part_of_input_and_reasoning_of_output(self) -> None:
        costs = price(input="2.5", cached_input="1.25", output="10", reasoning="20")
        self.assertEqual(costs.cost(Tokens(1_000, 200, 500, 100)), 2_000 + 250 + 4_000 + 2_000)

    def test_images_and_requests_are_counted_one_by_one(self) -> None:
        costs = price(per_image="0.0025", per_request="0.01")
        self.assertEqual(costs.cost(Tokens(images=3)), 7_500 + 10_000)
        self.assertEqual(costs.cost(Tokens(requests=4)), 40_000)

    def test_halves_are_rounded_up_once_at_the_end(self) -> None:
        self.assertEqual(price(input="0.5").cost(Tokens(input=1)), 1)
        self.assertEqual(price(input="0.499999").cost(Tokens(input=1)), 0)
        self.assertEqual(price(input="0.25", output="0.25").cost(Tokens(input=1, output=1)), 1)
        self.assertEqual(price(input="0.1").cost(Tokens(input=3)), 0)

    def test_a_float_would_be_wrong_here(self) -> None:
        self.assertEqual(price(input="0.1").cost(Tokens(input=10**15 + 5)), 10**14 + 1)

    def test_impossible_counts_cost_neither_less_than_nothing_nor_more_than_possible(self) -> None:
        costs = price(input="2", cached_input="1", output="4", reasoning="8")
        self.assertEqual(costs.cost(Tokens(10, 999, 10, 999)), 10 + 80)
        self.assertEqual(costs.cost(Tokens(-5, -5, -5, -5, -5, -5)), 0)

    def test_the_worst_case_is_never_passed(self) -> None:
        for costs in (
            price(input="2", cached_input="1", output="4", reasoning="8"),
            price(input="2", cached_input="3", output="4", reasoning="1"),
        ):
            worst = costs.worst_case(Tokens(input=100, output=50))
            spent = [
                costs.cost(Tokens(asked, cached, answered, reasoning))
                for asked in (0, 37, 100)
                for cached in (0, 20, 100)
                for answered in (0, 13, 50)
                for reasoning in (0, 7, 50)
            ]
            self.assertEqual(max(spent), worst)
