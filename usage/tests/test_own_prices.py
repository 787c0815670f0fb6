"""Which price applies: own before published, specific before general, the newest that has begun."""

from __future__ import annotations

import datetime as dt
import threading
from decimal import Decimal
from unittest import mock

from django.db import IntegrityError, connection, transaction
from django.test import TestCase, TransactionTestCase, override_settings

from usage import own_prices
from usage.models import ModelPrice
from usage.prices import Tokens, forget_prices, price_of
from usage.tests.prices import DECEMBER, JANUARY, JUNE, add_price

MILLION = Tokens(input=1_000_000)


def cost(model: str, upstream: str = "local", at: dt.datetime = JUNE) -> int | None:
    """Return what a million tokens of input cost, in whole units."""
    found = price_of(model, upstream, at)
    return None if found is None else found.cost(MILLION) // 1_000_000


class OrderTest(TestCase):
    def test_the_most_specific_price_applies(self) -> None:
        add_price("*", "1")
        add_price("llama*", "2")
        add_price("llama3*", "3")
        add_price("llama3-70b", "4")
        add_price("*", "5", upstream="lo*")
        add_price("*", "6", upstream="local")
        add_price("llama3-70b", "7", upstream="local")
        self.assertEqual(
            [cost(model, "far") for model in ("mistral", "llama2", "llama3-8b", "llama3-70b")], [1, 2, 3, 4]
        )
        self.assertEqual([cost(model, "lofty") for model in ("mistral", "llama3-70b")], [5, 5])
        self.assertEqual([cost(model, "local") for model in ("mistral", "llama3-8b", "llama3-70b")], [6, 6, 7])

    def test_a_price_applies_from_its_moment_until_the_next(self) -> None:
        add_price("m", "1", valid_from=JANUARY)
        add_price("m", "2", valid_from=JUNE)
        second = dt.timedelta(seconds=1)
        moments = (JANUARY - second, JANUARY, JUNE - second, JUNE, DECEMBER)
        self.assertEqual([cost("m", at=moment) for moment in moments], [None, 1, 1, 2, 2])

    def test_a_specific_price_that_has_not_begun_leaves_the_general_one(self) -> None:
        add_price("*", "1")
        add_price("m", "2", valid_from=DECEMBER)
        self.assertEqual([cost("m"), cost("m", at=DECEMBER)], [1, 2])

    def test_no_other_model_gets_it(self) -> None:
        add_price("gpt-4o", "1")
        for model in ("gpt-4o-mini", "GPT-4O", "x/gpt-4o", "gpt-4", "echo", "fake/ok", ""):
            self.assertIsNone(cost(model), model)

    def test_a_name_with_brackets_is_a_name_too(self) -> None:
        add_price("m[1]", "1")
        self.assertEqual(cost("m[1]"), 1)

    def test_prices_in_another_currency_do_not_apply(self) -> None:
        add_price("m", "1", currency="EUR")
        self.assertIsNone(cost("m"))
        with override_settings(CURRENCY="EUR"):
            self.assertEqual(cost("m"), 1)
        self.assertIsNone(cost("m"))

    @override_settings(
        UPSTREAMS={
            "local": {"base_url": "http://127.0.0.1:1/v1", "strip_prefix": True},
            "spare": {"base_url": "http://127.0.0.1:2/v1", "rename": {"big": "llama3-70b"}},
        }
    )
    def test_a_price_may_name_the_model_as_clients_do_or_as_its_upstream_does(self) -> None:
        add_price("llama3", "1")
        add_price("llama3-70b", "2")
        add_price("other/x", "3")
        self.assertEqual([cost("local/llama3"), cost("llama3"), cost("other/x")], [1, 1, 3])
        self.assertEqual([cost("big", "spare"), cost("llama3-70b", "spare"), cost("big", "local")], [2, 2, None])

    def test_what_is_not_given_costs_as_the_whole(self) -> None:
        add_price("m", "2", "4", max_output_tokens=8_192)
        add_price("n", "2", "4", cached_input="0", reasoning="8")
        everything = Tokens(1_000_000, 1_000_000, 1_000_000, 1_000_000)
        found = [price_of(model, "local", JUNE) for model in ("m", "n")]
        self.assertEqual([price and price.cost(everything) for price in found], [6_000_000, 8_000_000])
        self.assertEqual(
            [price and (price.source, price.max_output_tokens) for price in found], [("own", 8_192), ("own", None)]
        )

    def test_the_database_keeps_all_digits(self) -> None:
        stored = add_price("m", "123456789.123456", "0.000001")
        stored.refresh_from_db()
        self.assertEqual((stored.input, stored.output), (Decimal("123456789.123456"), Decimal("0.000001")))

    def test_the_database_refuses_negative_prices_and_two_from_one_moment(self) -> None:
        add_price("m", "1")
        for values in ({"model": "m"}, {"model": "n", "input": "-1"}, {"model": "n", "cached_input": "-0.000001"}):
            with self.assertRaises(IntegrityError), transaction.atomic():
                add_price(**values)


class KeptTest(TestCase):
    def test_a_thousand_look_ups_make_one_reading(self) -> None:
        add_price("m", "1")
        with self.assertNumQueries(3):  # what version the prices have, which models have some, and those of one
            self.assertEqual({cost(f"m{'x' * (number % 3)}") for number in range(1_000)}, {1, None})

    def test_names_that_clients_invent_cost_no_query(self) -> None:
        add_price("*", "1")
        add_price("m", "1", upstream="far")
        cost("m")
        with self.assertNumQueries(0):
            self.assertEqual({cost(f"m{number}") for number in range(1_000)}, {1})

    def test_no_prices_are_remembered_as_well(self) -> None:
        cost("m")
        with self.assertNumQueries(0):
            self.assertIsNone(cost("m"))

    def test_a_change_applies_at_once(self) -> None:
        price = add_price("m", "1")
        self.assertEqual(cost("m"), 1)
        add_price("m", "2", valid_from=JUNE)
        self.assertEqual(cost("m"), 2)
        ModelPrice.objects.filter(valid_from=JUNE).delete()
        self.assertEqual(cost("m"), 1)
        price.input = Decimal(3)
        price.save()
        self.assertEqual(cost("m"), 3)

    def test_other_processes_changes_apply_after_a_while_and_unchanged_prices_are_not_read_again(self) -> None:
        add_price("m", "1")
        cost("m")
        later = own_prices.time.monotonic() + own_prices.KEPT_SECONDS
        with mock.patch.object(own_prices.time, "monotonic", return_value=later), self.assertNumQueries(1):
            self.assertEqual([cost("m"), cost("m")], [1, 1])
        price = ModelPrice(model="m", currency="USD", input=2, output=2, valid_from=JUNE)
        ModelPrice.objects.bulk_create([price])  # sends no signal, as if it were elsewhere
        self.assertEqual(cost("m"), 1)
        with mock.patch.object(own_prices.time, "monotonic", return_value=later + own_prices.KEPT_SECONDS):
            self.assertEqual(cost("m"), 2)

    def test_names_that_clients_invent_take_bounded_memory(self) -> None:
        add_price("*", "1")
        with mock.patch.object(own_prices, "MAX_REMEMBERED", 10):
            for number in range(25):
                self.assertEqual(cost(f"m{number}"), 1)
            table = own_prices._tables.table("USD")
            self.assertLessEqual(len(table.remembered), 10)

    def test_what_was_read_before_a_change_is_not_kept_after_it(self) -> None:
        add_price("m", "1")
        tables = own_prices.PriceTables()
        made = own_prices._table_of

        def changed_meanwhile(*args):
            table = made(*args)
            tables.forget()
            return table

        with mock.patch.object(own_prices, "_table_of", changed_meanwhile):
            tables.table("USD")
        self.assertEqual(tables._tables, {})


class ThreadsTest(TransactionTestCase):
    def test_many_threads_find_the_same_price_and_none_waits_for_the_one_that_reads(self) -> None:
        add_price("m", "1")
        self.assertEqual(cost("m"), 1)
        later = own_prices.time.monotonic() + own_prices.KEPT_SECONDS
        found = []

        def look_up() -> None:
            try:
                found.append(cost("m"))
            finally:
                connection.close()

        with mock.patch.object(own_prices.time, "monotonic", return_value=later), own_prices._tables._reading:
            threads = [threading.Thread(target=look_up) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(10)
        self.assertEqual(found, [1] * 8)
        forget_prices()
        self.assertEqual(cost("m"), 1)
