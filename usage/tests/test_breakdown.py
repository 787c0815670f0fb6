"""Totals of the ledger by every dimension, over days and over months that are summed up."""

from __future__ import annotations

import datetime as dt
from typing import Any
from unittest import mock

from django.contrib.auth.models import AnonymousUser, Group, Permission
from django.db.models import Q
from django.test import TestCase
from django.utils import timezone

from accounts.models import GroupOwner, User
from accounts.services import delete_user, issue_api_key, register_user
from usage import months
from usage.breakdown import DIMENSIONS, Selection, lines_of, total, totals, visible_usage
from usage.models import DailyUsage, MonthlyUsage
from usage.tests.ledger_rows import use

NOW = dt.datetime(2026, 11, 20, 9, tzinfo=dt.UTC)
DAYS = [dt.date(2025, 12, 31), dt.date(2026, 1, 1), dt.date(2026, 9, 30), dt.date(2026, 10, 1), dt.date(2026, 11, 20)]


def year(**more: Any) -> Selection:
    return Selection(dt.date(2025, 11, 1), NOW.date(), **more)


class BreakdownTest(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        cls.alice, cls.bob = register_user(username="alice"), register_user(username="bob")
        cls.support, cls.sales = Group.objects.create(name="Support"), Group.objects.create(name="Sales")
        cls.alice.groups.add(cls.support)
        cls.key, _ = issue_api_key(user=cls.alice, name="laptop")
        for place, day in enumerate(DAYS):
            use(cls.alice, day, key=cls.key.pk, cost=1_000_000 * 10**place)
            use(cls.bob, day, model="echo", upstream="echo", cost=None, failed=True)

    def setUp(self) -> None:
        clock = mock.patch.object(timezone, "now", return_value=NOW)
        clock.start()
        self.addCleanup(clock.stop)

    def costs(self, selection: Selection, by: str) -> dict[str, int]:
        return {line.label: line.amounts["cost"] // 1_000_000 for line in lines_of(totals(selection, by), by)}

    def test_each_dimension_adds_up_to_the_same(self) -> None:
        for summed in (False, True):
            if summed:
                self.assertEqual(months.sum_up_months(), 4)
            for by in DIMENSIONS:
                sums = total(totals(year(), by).values())
                with self.subTest(by, summed=summed):
                    self.assertEqual((sums["cost"], sums["requests"]), (11_111_000_000, 10))
                    self.assertEqual((sums["failed"], sums["unpriced"], sums["input_tokens"]), (5, 5, 1_000))

    def test_lines_are_named_and_what_costs_most_is_first(self) -> None:
        months.sum_up_months()
        self.assertEqual(list(self.costs(year(), "user").items()), [("alice", 11_111), ("bob", 0)])
        self.assertEqual(self.costs(year(), "group"), {"Support": 11_111, "no group": 0})
        self.assertEqual(self.costs(year(), "key"), {f"laptop (cb_{self.key.kid}…) of alice": 11_111, "no key": 0})
        self.assertEqual(self.costs(year(), "model"), {"gpt-4o": 11_111, "echo": 0})
        self.assertEqual(self.costs(year(), "upstream"), {"openai": 11_111, "echo": 0})
        by_month = {"2026-11": 10_000, "2026-10": 1_000, "2026-09": 100, "2026-01": 10, "2025-12": 1}
        self.assertEqual(list(self.costs(year(), "month").items()), list(by_month.items()))
        self.assertEqual(list(self.costs(year(), "day"))[0], "2026-11-20")

    def test_a_period_that_cuts_months_counts_exactly_its_days(self) -> None:
        months.sum_up_months()
        for since, until, expected in (
            (dt.date(2026, 1, 1), dt.date(2026, 9, 30), 110),
            (dt.date(2026, 1, 2), dt.date(2026, 9, 29), 0),
            (dt.date(2025, 12, 31), dt.date(2026, 10, 1), 1_111),
            (dt.date(2026, 9, 30), dt.date(2026, 10, 1), 1_100),
            (dt.date(2026, 10, 2), dt.date(2026, 11, 19), 0),
            (dt.date(2026, 10, 1), dt.date(2026, 10, 1), 1_000),
        ):
            for by in DIMENSIONS:
                sums = total(totals(Selection(since, until), by).values())
                self.assertEqual(sums["cost"] // 1_000_000, expected, (since, until, by))

    def test_filters_hold_for_months_and_days(self) -> None:
        months.sum_up_months()
        for fields, expected in (
            ({"user_id": self.alice.pk}, 11_111),
            ({"user_id": self.bob.pk}, 0),
            ({"group_id": self.support.pk, "model": "gpt-4o"}, 11_111),
            ({"group_id": self.sales.pk}, 0),
            ({"api_key_id": self.key.pk}, 11_111),
            ({"upstream": "echo"}, 0),
        ):
            selection = year(fields=fields)
            self.assertEqual(sum(self.costs(selection, "month").values()), expected, fields)

    def test_a_month_is_summed_up_when_it_has_been_over_for_two_days_and_once(self) -> None:
        with mock.patch.object(timezone, "now", return_value=dt.datetime(2026, 11, 2, 23, tzinfo=dt.UTC)):
            self.assertEqual(months.sum_up_months(), 3)
        self.assertEqual(months.sum_up_months(), 1)
        before = MonthlyUsage.objects.count()
        self.assertEqual(months.sum_up_months(), 0)
        self.assertEqual(MonthlyUsage.objects.count(), before)
        self.assertNotIn(dt.date(2026, 11, 1), months.summed_months())

    def test_months_are_summed_up_again_when_days_were_changed(self) -> None:
        months.sum_up_months()
        DailyUsage.objects.filter(day=DAYS[0], user=self.alice).update(cost=5_000_000)
        months.forget_months()
        self.assertEqual(self.costs(year(), "month")["2025-12"], 5)
        months.sum_up_months()
        self.assertEqual(self.costs(year(), "month")["2025-12"], 5)

    def test_two_processes_that_sum_up_the_same_month_count_it_once(self) -> None:
        with mock.patch.object(months, "summed_months", return_value=set()):
            months.sum_up_months()
            months.sum_up_months()
        self.assertEqual(sum(self.costs(year(), "user").values()), 11_111)

    def test_an_erased_account_leaves_what_it_used(self) -> None:
        months.sum_up_months()
        delete_user(user=self.alice)
        self.assertEqual(self.costs(year(), "user"), {"accounts that were erased": 11_111, "bob": 0})
        self.assertEqual(sum(self.costs(year(), "group").values()), 11_111)
        self.assertIn(f"deleted ({str(self.key.pk)[-12:]})", self.costs(year(), "key"))

    def test_beyond_the_most_lines_the_rest_is_one(self) -> None:
        found = totals(year(), "month")
        self.assertEqual([line.label for line in lines_of(found, "month", 2)], ["2026-11", "2026-10", "3 others"])
        self.assertEqual(total(line.amounts for line in lines_of(found, "month", 2)), total(found.values()))

    def test_who_may_see_usage_sees_all_of_it_and_others_nothing(self) -> None:
        clerk = User.objects.create_user(username="clerk", is_staff=True)
        viewer = User.objects.create_user(username="viewer", is_staff=True)
        viewer.user_permissions.add(Permission.objects.get(codename="view_dailyusage"))
        root = User.objects.create_superuser(username="root", password=None)
        for user in (clerk, AnonymousUser(), self.alice):
            self.assertIsNone(visible_usage(user), user)
        for user in (viewer, root):
            found = totals(year(visible=visible_usage(user)), "user")
            self.assertEqual(total(found.values())["requests"], 10, user)

    def test_an_owner_of_a_group_sees_what_was_used_in_its_name(self) -> None:
        GroupOwner.objects.create(group=self.support, user=self.bob)
        visible = visible_usage(self.bob)
        assert visible is not None
        found = totals(year(visible=visible), "group")
        self.assertEqual(list(found), [self.support.pk])

    def test_a_condition_on_the_visible_rows_holds_for_months_and_days(self) -> None:
        months.sum_up_months()
        for by in DIMENSIONS:
            found = totals(year(visible=Q(group__in=[self.support.pk])), by)
            self.assertEqual(total(found.values())["requests"], 5, by)

    def test_an_unknown_dimension_is_a_mistake(self) -> None:
        with self.assertRaises(ValueError):
            totals(year(), "content")
