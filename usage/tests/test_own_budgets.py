"""What a caller is told of budgets: all that could refuse it, and nothing of others' that it could not learn anyway."""

from __future__ import annotations

import datetime as dt
from typing import Any
from unittest import mock

from django.contrib.auth.models import Group
from django.test import TestCase, override_settings

from accounts.callers import Principal
from accounts.models import User
from accounts.services import issue_api_key, register_user
from usage import budget_rules
from usage.models import Budget, BudgetUse
from usage.own_budgets import own_budgets
from usage.periods import start_of
from usage.row_ids import row_id

NOW = dt.datetime(2026, 11, 18, 23, 30, tzinfo=dt.UTC)  # a Wednesday


@override_settings(USAGE_TIME_ZONE="Europe/Berlin")
class OwnBudgetsTest(TestCase):
    def setUp(self) -> None:
        budget_rules.forget_budgets()
        self.addCleanup(budget_rules.forget_budgets)
        self.enterContext(mock.patch("django.utils.timezone.now", return_value=NOW))
        self.alice, self.bob = (register_user(username=name) for name in ("alice", "bob"))
        self.group = Group.objects.create(name="Research")
        self.alice.groups.add(self.group)

    def budget(self, name: str, **fields: Any) -> Budget:
        budget = Budget.objects.create(name=name, **{"max_tokens": 100, **fields})
        budget_rules.forget_budgets()
        return budget

    def use(self, budget: Budget, member: str = "", at: dt.datetime = NOW, **amounts: int) -> None:
        start = start_of(budget.period, at)
        pk = row_id(budget.pk, member, start)
        BudgetUse.objects.create(pk=pk, budget=budget, member=member, start=start, **amounts)

    def told(self, user: User, **named: Any) -> dict[str, Any]:
        found = own_budgets(Principal(user_id=user.pk, username=user.username, **named))
        self.assertEqual([each.name for each in found], sorted(each.name for each in found))
        return {each.name: each for each in found}

    def test_those_that_apply_are_told_to_whom_they_apply(self) -> None:
        key, _ = issue_api_key(user=self.alice)
        self.budget("everybody")
        self.budget("everybody, each", for_each=True)
        self.budget("group", group=self.group)
        self.budget("user", user=self.alice)
        self.budget("key", api_key=key)
        self.budget("off", is_active=False)
        self.budget("end user", end_user="*")
        mine = {"everybody", "everybody, each", "group", "user"}
        self.assertEqual(set(self.told(self.alice)), mine)
        self.assertEqual(set(self.told(self.alice, key_id=key.pk)), {*mine, "key"})
        self.assertEqual(set(self.told(self.bob)), {"everybody", "everybody, each"})
        # Who shares the limits of another account shares its budgets.
        self.assertEqual(set(self.told(self.bob, limits_owner_id=self.alice.pk)), mine)
        shared = {name for name, each in self.told(self.alice, key_id=key.pk).items() if each.is_shared}
        self.assertEqual(shared, {"everybody", "group"})

    def test_what_only_warns_is_told_where_nobody_else_uses_it(self) -> None:
        self.budget("everybody", is_hard=False)
        self.budget("group", group=self.group, is_hard=False)
        self.budget("each", is_hard=False, for_each=True)
        self.budget("user", user=self.alice, is_hard=False)
        self.assertEqual(set(self.told(self.alice)), {"each", "user"})

    def test_amounts_are_those_of_the_current_period_and_of_oneself(self) -> None:
        each = self.budget("each", for_each=True, period="week", max_cost=5_000_000)
        for user, used in ((self.alice, 30), (self.bob, 77)):
            self.use(each, user.pk.hex, used_tokens=used, reserved_tokens=10, used_cost=1_000_000, reserved_cost=1)
            self.use(each, user.pk.hex, at=NOW - dt.timedelta(days=7), used_tokens=99)
        told = self.told(self.alice)["each"]
        self.assertEqual((told.max_tokens, told.left_tokens), (100, 60))
        self.assertEqual((told.max_cost, told.left_cost), (5_000_000, 3_999_999))
        self.assertEqual(told.renews_at, dt.datetime(2026, 11, 22, 23, tzinfo=dt.UTC))  # Monday in Berlin

    def test_less_than_nothing_is_never_left_and_no_limit_is_no_amount(self) -> None:
        budget = self.budget("total", period="total", max_tokens=None, max_cost=5)
        self.use(budget, used_tokens=1_000, used_cost=9)
        told = self.told(self.bob)["total"]
        self.assertEqual((told.max_tokens, told.left_tokens, told.left_cost, told.renews_at), (None, None, 0, None))

    def test_where_there_are_none_nothing_is_asked(self) -> None:
        self.assertEqual(self.told(self.alice), {})
        with self.assertNumQueries(0):
            self.told(self.alice)
