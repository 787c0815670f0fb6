"""Budgets in the admin: entered in the currency, in force at once, with what is used, and who is near a limit."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any
from unittest import mock

from django.contrib.auth.models import Group
from django.test import Client, TestCase
from django.utils import timezone

from accounts.models import User
from accounts.services import issue_api_key, register_user
from usage import budget_admin, budget_rules
from usage.models import Budget, BudgetUse
from usage.row_ids import row_id

LIST, USES = "/admin/usage/budget/", "/admin/usage/budgetuse/"
NOW = dt.datetime(2026, 11, 20, 9, tzinfo=dt.UTC)
NOVEMBER = dt.date(2026, 11, 1)


def used(budget: Budget, *, member: str = "", start: dt.date = NOVEMBER, **amounts: int) -> BudgetUse:
    """Store what is used of a budget."""
    pk = row_id(budget.pk, member, start)
    return BudgetUse.objects.create(pk=pk, budget=budget, member=member, start=start, **amounts)


class BudgetAdminTest(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        cls.root = User.objects.create_superuser(username="root", password=None)
        cls.clerk = User.objects.create_user(username="clerk", is_staff=True)
        cls.alice, cls.bob = register_user(username="alice"), register_user(username="bob")
        cls.group = Group.objects.create(name="Support")
        cls.key, _ = issue_api_key(user=cls.alice, name="laptop")

    def setUp(self) -> None:
        clock = mock.patch.object(timezone, "now", return_value=NOW)
        clock.start()
        self.addCleanup(clock.stop)
        self.client = self.signed_in(self.root)
        budget_rules.forget_budgets()
        self.addCleanup(budget_rules.forget_budgets)

    def signed_in(self, user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    def form(self, **values: Any) -> dict[str, Any]:
        fields = {
            "name": "Team",
            "group": "",
            "user": "",
            "api_key": "",
            "end_user": "",
            "period": "month",
            "max_tokens": "",
            "max_cost": "12.5",
            "is_hard": "on",
            "warn_at": "80",
            "is_active": "on",
            **values,
        }
        return {name: value for name, value in fields.items() if value is not None}

    def rows(self, address: str) -> list[list[str]]:
        text = self.client.get(address).content.decode()
        found = re.findall(r"<tr>(<td class=\"action.*?|<th class=\"field.*?)</tr>", text, re.DOTALL)
        return [[re.sub("<[^>]+>", "", cell) for cell in re.findall(r"<t[dh].*?</t[dh]>", row)] for row in found]

    def test_cost_is_entered_in_the_currency_and_stored_in_millionths(self) -> None:
        for given, stored, shown in (
            ("12.5", 12_500_000, "12.50"),
            ("0.000001", 1, "0.000001"),
            ("1000000", 10**12, "1000000.00"),
            ("0", 0, "0.00"),
        ):
            self.assertRedirects(self.client.post(f"{LIST}add/", self.form(max_cost=given)), LIST)
            budget = Budget.objects.get()
            self.assertEqual(budget.max_cost, stored)
            page = self.client.get(f"{LIST}{budget.pk}/change/")
            self.assertContains(page, f'value="{shown}"')
            self.assertContains(page, "In USD.")
            self.assertRedirects(self.client.post(f"{LIST}{budget.pk}/change/", self.form(max_cost=shown)), LIST)
            budget.refresh_from_db()
            self.assertEqual(budget.max_cost, stored)
            budget.delete()

    def test_wrong_values_are_refused(self) -> None:
        for values in (
            *({"max_cost": "-1"}, {"max_cost": "0.0000001"}, {"max_cost": "NaN"}, {"max_cost": "1e300"}),
            *({"max_cost": ""}, {"max_tokens": "-1"}, {"max_tokens": str(10**30)}, {"warn_at": "0"}, {"name": ""}),
            *({"warn_at": "101"}, {"period": "year"}, {"user": "x"}, {"for_each": "on", "user": str(self.alice.pk)}),
            {"group": str(self.group.pk), "user": str(self.alice.pk)},
        ):
            response = self.client.post(f"{LIST}add/", self.form(**values))
            self.assertContains(response, "errorlist", msg_prefix=str(values))
        self.assertFalse(Budget.objects.exists())

    def test_a_change_is_in_force_when_it_is_committed(self) -> None:
        for change in (
            lambda: self.client.post(f"{LIST}add/", self.form()),
            lambda: self.client.post(f"{LIST}{Budget.objects.get().pk}/change/", self.form(max_cost="7")),
            lambda: self.client.post(f"{LIST}{Budget.objects.get().pk}/delete/", {"post": "yes"}),
        ):
            with self.captureOnCommitCallbacks() as callbacks:
                self.assertEqual(change().status_code, 302)
            self.assertIn(budget_admin.forget_budgets, callbacks)
        self.assertFalse(Budget.objects.exists())
        budget = Budget.objects.create(name="Other", max_tokens=1)
        with self.captureOnCommitCallbacks() as callbacks:
            chosen = {"action": "delete_selected", "_selected_action": str(budget.pk), "post": "yes"}
            self.assertEqual(self.client.post(LIST, chosen).status_code, 302)
        self.assertIn(budget_admin.forget_budgets, callbacks)
        self.assertFalse(Budget.objects.exists())

    def test_the_list_tells_what_is_used_and_reserved_now(self) -> None:
        one = Budget.objects.create(name="A", group=self.group, max_cost=20_000_000, max_tokens=1_000)
        each = Budget.objects.create(name="B", for_each=True, max_tokens=500, period="day")
        key = Budget.objects.create(name="C", api_key=self.key, max_cost=1, period="total", end_user="*")
        used(one, used_cost=5_250_000, used_tokens=300, reserved_cost=1_000, reserved_tokens=7)
        used(one, start=dt.date(2026, 10, 1), used_cost=19_000_000)
        for user, tokens in ((self.alice, 100), (self.bob, 400)):
            used(each, member=user.pk.hex, start=NOW.date(), used_tokens=tokens)
        found = {row[1]: row[2:] for row in self.rows(LIST)}
        self.assertEqual(found["A"][0], "Support")
        self.assertEqual(found["A"][2], "5.25 USD of 20.00 USD, 300 of 1,000 tokens")
        self.assertEqual(found["A"][3:5], ["0.001 USD, 7 tokens", "2026-12-01 00:00 UTC"])
        self.assertEqual(found["B"][0], "each of everybody")
        self.assertEqual(found["B"][2], "400 of 500 tokens; the most of 2")
        self.assertEqual(found["C"][0], f"{self.key} of alice, end user *")
        self.assertEqual((found["C"][2], found["C"][4]), ("0.00 USD of 0.000001 USD", "never"))
        self.assertContains(self.client.get(f"{LIST}{one.pk}/change/"), "5.25 USD of 20.00 USD")
        self.assertEqual([row[1] for row in self.rows(f"{LIST}?subject=api_key")], [key.name])
        self.assertEqual([row[1] for row in self.rows(f"{LIST}?subject=everybody")], ["B"])

    def test_who_is_near_a_limit_is_listed_tightest_first(self) -> None:
        each = Budget.objects.create(name="Each", for_each=True, max_tokens=1_000, max_cost=1_000_000)
        off = Budget.objects.create(name="Off", max_tokens=10, is_active=False)
        nothing = Budget.objects.create(name="Nothing", max_tokens=0)
        used(each, member=self.alice.pk.hex, used_tokens=810)
        used(each, member=f"{self.bob.pk.hex} guest 7", used_tokens=10, used_cost=990_000)
        used(each, member=self.root.pk.hex, used_tokens=799)
        used(each, member=self.alice.pk.hex, start=dt.date(2026, 10, 1), used_tokens=1_000)
        used(off, used_tokens=10)
        used(nothing)
        near = self.rows(f"{USES}?use=near")
        self.assertEqual([row[1:3] for row in near], [["bob, end user guest 7", "99.0"], ["alice", "81.0"]])
        self.assertEqual([row[2] for row in self.rows(USES)], ["100.0", "99.0", "81.0", "79.9", "0.0"])
        self.assertEqual(len(self.rows(f"{USES}?use=all")), 1)
        self.assertEqual(len(self.rows(f"{USES}?name=Each")), 3)

    def test_what_is_used_cannot_be_changed(self) -> None:
        use = used(Budget.objects.create(name="A", max_tokens=10), used_tokens=5)
        address = f"{USES}{use.pk}/"
        self.assertContains(self.client.get(f"{address}change/"), "5 of 10 tokens")
        for page in ("change/", "delete/"):
            self.assertEqual(self.client.post(f"{address}{page}", {"used_tokens": "0", "post": "yes"}).status_code, 403)
        use.refresh_from_db()
        self.assertEqual(use.used_tokens, 5)

    def test_another_limit_is_reported_again(self) -> None:
        budget = Budget.objects.create(name="Team", max_cost=1_000_000)
        use, past = used(budget, warned=100), used(budget, start=dt.date(2026, 10, 1), warned=100)
        self.client.post(f"{LIST}{budget.pk}/change/", self.form(max_cost="1", name="Renamed"))
        use.refresh_from_db()
        self.assertEqual(use.warned, 100)
        self.client.post(f"{LIST}{budget.pk}/change/", self.form(max_cost="2"))
        use.refresh_from_db()
        past.refresh_from_db()
        self.assertEqual((use.warned, past.warned), (0, 100))

    def test_staff_need_the_permission(self) -> None:
        budget = Budget.objects.create(name="A", max_tokens=10)
        client = self.signed_in(self.clerk)
        for address in (LIST, f"{LIST}add/", f"{LIST}{budget.pk}/change/", f"{LIST}{budget.pk}/delete/", USES):
            self.assertEqual(client.get(address).status_code, 403, address)
            self.assertEqual(client.post(address, self.form()).status_code, 403, address)

    def test_a_list_of_many_needs_no_more_queries(self) -> None:
        counts: list[int] = []
        for number in range(2):
            for each in range(1 + 4 * number):
                user = register_user(username=f"user-{number}-{each}")
                budget = Budget.objects.create(name=f"B {number} {each}", user=user, max_tokens=10, for_each=True)
                used(budget, member=user.pk.hex, used_tokens=each)
            for address in (LIST, USES):
                with self.counted(counts):
                    self.client.get(address)
        self.assertEqual(counts[:2], counts[2:])
        self.assertLess(max(counts), 15)

    def counted(self, counts: list[int]) -> Any:
        from django.db import connection
        from django.test.utils import CaptureQueriesContext

        class Counted(CaptureQueriesContext):
            def __exit__(self, *raised: Any) -> None:
                super().__exit__(*raised)
                counts.append(len(self))

        return Counted(connection)
