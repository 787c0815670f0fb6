"""Prices in the admin: who may, what can be changed, and what the check says of other currencies."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.core.checks import run_checks
from django.test import Client, TestCase, override_settings
from django.utils import timezone

from accounts.models import User
from usage.models import ModelPrice
from usage.prices import Tokens, price_of
from usage.tests.prices import JANUARY, add_price

LIST = "/admin/usage/modelprice/"


class PriceAdminTest(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        cls.root = User.objects.create_superuser(username="root", password=None)
        cls.clerk = User.objects.create_user(username="clerk", is_staff=True)

    def signed_in(self, user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    def form(self, **values: Any) -> dict[str, Any]:
        return {
            "model": "gpt-4o",
            "upstream": "",
            "currency": "USD",
            "input": "2.5",
            "output": "10",
            "cached_input": "",
            "reasoning": "",
            "per_image": "0",
            "per_request": "0",
            "max_output_tokens": "",
            "valid_from_0": "2026-01-01",
            "valid_from_1": "00:00:00",
            **values,
        }

    def test_a_price_that_is_entered_applies_at_once(self) -> None:
        client = self.signed_in(self.root)
        self.assertIsNone(price_of("gpt-4o", "openai", timezone.now()))
        self.assertRedirects(client.post(f"{LIST}add/", self.form()), LIST)
        price = price_of("gpt-4o", "openai", timezone.now())
        self.assertEqual(price and price.cost(Tokens(1_000)), 2_500)

    def test_wrong_values_are_refused(self) -> None:
        client = self.signed_in(self.root)
        for values in (
            *({"input": "-1"}, {"input": "0.0000001"}, {"input": "NaN"}, {"currency": "usd"}),
            *({"model": ""}, {"max_output_tokens": "-1"}, {"output": ""}, {"input": "1e300"}),
        ):
            response = client.post(f"{LIST}add/", self.form(**values))
            self.assertContains(response, "errorlist", msg_prefix=str(values))
        self.assertFalse(ModelPrice.objects.exists())

    def test_the_same_model_has_one_price_from_one_moment(self) -> None:
        add_price("gpt-4o", "1")
        self.assertContains(self.signed_in(self.root).post(f"{LIST}add/", self.form()), "already exists")

    def test_only_a_price_that_has_not_begun_can_be_changed(self) -> None:
        client = self.signed_in(self.root)
        begun = add_price("gpt-4o", "1")
        upcoming = add_price("gpt-4o", "1", valid_from=timezone.now() + dt.timedelta(days=1))
        self.assertEqual(client.post(f"{LIST}{begun.pk}/change/", self.form(input="9")).status_code, 403)
        later = self.form(input="9", valid_from_0="2099-01-01")
        self.assertRedirects(client.post(f"{LIST}{upcoming.pk}/change/", later), LIST)
        for price, expected in ((begun, 1), (upcoming, 9)):
            price.refresh_from_db()
            self.assertEqual(price.input, expected)

    def test_staff_need_the_permission(self) -> None:
        price = add_price("gpt-4o", "1")
        client = self.signed_in(self.clerk)
        for address in (LIST, f"{LIST}add/", f"{LIST}{price.pk}/change/", f"{LIST}{price.pk}/delete/"):
            self.assertEqual(client.get(address).status_code, 403, address)
            self.assertEqual(client.post(address, self.form()).status_code, 403, address)
        self.assertEqual(ModelPrice.objects.count(), 1)

    def test_the_list_is_filtered_and_searched(self) -> None:
        add_price("gpt-4o", "0.15", upstream="openai")
        add_price("gpt-4o", "0.25", upstream="openai", valid_from=JANUARY + dt.timedelta(days=1))
        add_price("gpt-4o", "0.35", upstream="openai", valid_from=timezone.now() + dt.timedelta(days=1))
        add_price("llama3", "0.45", currency="EUR")
        client = self.signed_in(self.root)
        for query, expected in {
            "": {"0.15", "0.25", "0.35", "0.45"},
            "?state=current": {"0.25", "0.45"},
            "?state=upcoming": {"0.35"},
            "?state=replaced": {"0.15"},
            "?currency=EUR": {"0.45"},
            "?upstream=openai": {"0.15", "0.25", "0.35"},
            "?q=LAMA": {"0.45"},
        }.items():
            shown = client.get(LIST + query).content.decode()
            found = {amount for amount in ("0.15", "0.25", "0.35", "0.45") if f'">{amount}</td>' in shown}
            self.assertEqual(found, expected, query)


class CurrencyCheckTest(TestCase):
    def warnings(self) -> list[str]:
        return [found.msg for found in run_checks(databases=["default"]) if found.id == "usage.W001"]

    def test_prices_in_another_currency_are_reported(self) -> None:
        add_price("a", "1")
        self.assertEqual(self.warnings(), [])
        add_price("b", "1", currency="EUR")
        add_price("c", "1", currency="CHF")
        self.assertEqual(self.warnings(), ["Prices in CHF, EUR do not apply, since CURRENCY is USD: 2."])
        with override_settings(CURRENCY="EUR"):
            self.assertIn("Prices in CHF, USD", self.warnings()[0])
