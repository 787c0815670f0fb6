"""The pages on usage and budgets in a real browser with its CSP, in light and dark; the pictures of docs/costs.md."""

from __future__ import annotations

import datetime as dt
import random

from django.contrib.auth.models import Group
from django.utils import timezone
from playwright.sync_api import expect

from accounts.models import User
from accounts.services import register_user
from chatservice.testing import tried_once
from tests.browser.case import BrowserTestCase
from tests.staff import staff
from usage.models import Budget, BudgetUse, DailyUsage
from usage.periods import day_of, start_of
from usage.row_ids import row_id
from usage.tests.ledger_rows import use

TEAMS = {"Research": ("ada", "emmy"), "Sales": ("grace",), "Support": ("alan", "edsger", "barbara")}
PRICES = {"gpt-4o": 9_000_000, "gpt-4o-mini": 1_200_000, "o4-mini": 4_000_000}
USAGE, BUDGETS, USES = "/admin/dashboard/usage/", "/admin/usage/budget/", "/admin/usage/budgetuse/"


@tried_once
class UsagePagesTest(BrowserTestCase):
    viewport = {"width": 1440, "height": 900}

    def setUp(self) -> None:
        super().setUp()
        self.groups = [Group.objects.create(name=name) for name in TEAMS]
        self.users = [
            register_user(username=name, email=f"{name}@example.org") for team in TEAMS.values() for name in team
        ]
        for group in self.groups:
            group.user_set.set(User.objects.filter(username__in=TEAMS[group.name]))
        self.addCleanup(self.clean)
        today = day_of(timezone.now())
        dice = random.Random(7)
        for back in range(0, 365, 9):
            for user in self.users:
                model = dice.choice(list(PRICES))
                cost = round(PRICES[model] * dice.uniform(0.3, 1.4) * (1 + (365 - back) / 300))
                day, tokens = today - dt.timedelta(days=back), dice.randrange(20_000, 90_000)
                use(user, day, model=model, cost=cost, tokens=tokens, times=dice.randrange(2, 9))
                use(user, day, model="llama3", upstream="local", cost=0, tokens=tokens // 3)
        use(self.users[0], today, cost=None, failed=True)
        self.budgets()
        self.sign_in(staff("carol", "view"))

    def clean(self) -> None:
        DailyUsage.objects.all().delete()
        Budget.objects.all().delete()
        User.objects.filter(pk__in=[user.pk for user in self.users]).delete()
        Group.objects.filter(pk__in=[group.pk for group in self.groups]).delete()

    def budgets(self) -> None:
        _, sales, support = self.groups
        everybody = Budget.objects.create(name="Everybody", max_cost=2_500_000_000)
        each = Budget.objects.create(name="Each member of Support", group=support, for_each=True, max_cost=40_000_000)
        daily = Budget.objects.create(name="Sales by day", group=sales, period="day", max_tokens=5_000_000)
        Budget.objects.create(name="Trial", user=self.users[0], period="total", max_cost=10_000_000, is_hard=False)
        for budget, name, cost, tokens in (
            (everybody, "", 1_623_000_000, 9_200_000),
            (each, "alan", 39_100_000, 0),
            (each, "edsger", 33_000_000, 0),
            (each, "barbara", 4_200_000, 0),
            (daily, "", 0, 4_875_000),
        ):
            start = start_of(budget.period, timezone.now())
            member = User.objects.get(username=name).pk.hex if name else ""
            BudgetUse.objects.create(
                pk=row_id(budget.pk, member, start),
                budget=budget,
                member=member,
                start=start,
                used_cost=cost,
                used_tokens=tokens,
                reserved_cost=cost // 500,
                reserved_tokens=tokens // 500,
            )

    def test_usage_of_a_year_in_light_and_dark(self) -> None:
        self.page.goto(USAGE)
        self.page.get_by_role("link", name="12 months").click()
        self.page.get_by_label("By", exact=True).select_option("group")
        self.page.get_by_role("button", name="Show").click()
        expect(self.page.get_by_role("img", name="Cost per month")).to_be_visible()
        expect(self.page.locator(".usage-table tbody tr")).to_have_count(3)
        self.assert_accessible()
        self.shot("admin-usage")
        self.page.emulate_media(color_scheme="dark")
        self.assert_accessible()
        self.page.get_by_role("link", name="Support").click()
        expect(self.page.locator(".usage-table tbody tr")).to_have_count(3)
        self.page.get_by_label("User", exact=True).fill("nobody-like-this")
        self.page.keyboard.press("Enter")
        expect(self.page.locator(".errorlist")).to_contain_text("no account of this name")
        self.assert_accessible()

    def test_the_table_is_downloaded(self) -> None:
        self.page.goto(f"{USAGE}?by=model")
        with self.page.expect_download() as waiting:
            self.page.get_by_role("link", name="Download as CSV").click()
        self.assertIn("usage-by-model-", waiting.value.suggested_filename)
        lines = waiting.value.path().read_text().splitlines()
        self.assertEqual(len(lines), self.page.locator(".usage-table tr").count())

    def test_budgets_and_who_is_near_a_limit(self) -> None:
        self.page.set_viewport_size({"width": 1440, "height": 620})
        self.page.goto(BUDGETS)
        expect(self.page.locator("#result_list")).to_contain_text("39.10 USD of 40.00 USD; the most of 3")
        self.assert_accessible()
        self.shot("admin-budgets")
        self.page.goto(USAGE)
        self.page.get_by_role("link", name="Budgets near a limit").click()
        expect(self.page.locator("#result_list tbody tr")).to_have_count(3)
        expect(self.page.locator("#result_list tbody tr").first).to_contain_text("alan")
        self.assert_accessible()
        self.shot("admin-near-limit")
