"""The usage page: figures of the ledger for staff who may see them, the same as CSV, at a fixed number of queries."""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
from typing import Any
from unittest import mock
from urllib.parse import urlencode

from django.contrib.auth.models import Group
from django.test import Client, TestCase, override_settings
from django.utils import timezone

from accounts.services import delete_user, issue_api_key, register_user
from chatservice.testing import tried_once
from dashboard.charts import Chart, Series
from dashboard.usage_form import earliest
from foundation.spreadsheets import csv_text
from tests.staff import CANARY, StaffCase, staff
from usage import months
from usage.tests.ledger_rows import use

PAGE, FILE = "/admin/dashboard/usage/", "/admin/dashboard/usage/csv/"
NOW = dt.datetime(2026, 11, 20, 9, tzinfo=dt.UTC)
TODAY = NOW.date()
YEAR = {"since": "2025-11-01", "until": "2026-11-20"}
# The session, the user, its permissions (2), the user that is filtered by, the months that are summed up, the figures
# by time and by what is asked for (2 of summed months, 2 of other days), names, and the choices of groups.
MAX_QUERIES = 12


class UsageCase(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        cls.alice, cls.bob = register_user(username="alice"), register_user(username="bob")
        cls.support = Group.objects.create(name="=SUM(A1:A9)")
        cls.alice.groups.add(cls.support)
        cls.key, _ = issue_api_key(user=cls.alice, name="laptop")
        cls.viewer, cls.clerk = staff("viewer", "view_dailyusage"), staff("clerk")
        for back in (0, 1, 40, 200, 380):
            use(cls.alice, TODAY - dt.timedelta(days=back), key=cls.key.pk, cost=1_500_000)
            use(cls.bob, TODAY - dt.timedelta(days=back), model="echo", upstream="echo", cost=None, failed=True)

    def setUp(self) -> None:
        clock = mock.patch.object(timezone, "now", return_value=NOW)
        clock.start()
        self.addCleanup(clock.stop)
        self.client = Client()
        self.client.force_login(self.viewer)

    def page(self, **query: Any) -> Any:
        return self.client.get(f"{PAGE}?{urlencode(query)}")

    def rows(self, **query: Any) -> list[list[str]]:
        response = self.client.get(f"{FILE}?{urlencode(query)}")
        self.assertEqual(response.status_code, 200, response.content[:300])
        return list(csv.reader(io.StringIO(response.content.decode())))

    def table(self, response: Any) -> list[list[str]]:
        text = response.content.decode()
        body = text[text.index('class="usage-table"') :]
        rows = re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)
        return [[re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", row)] for row in rows]


@tried_once
class UsagePageTest(UsageCase):
    def test_by_default_the_last_30_days_by_user(self) -> None:
        response = self.page()
        table = self.table(response)
        self.assertEqual([row[0] for row in table], ["User", "alice", "bob", "Total"])
        self.assertEqual((table[1][1], table[1][-1], table[2][-1], table[3][1]), ("2", "3.00", "0.00", "4"))
        self.assertContains(response, "Cost per day")
        self.assertContains(response, 'value="2026-10-22"')

    def test_a_year_is_charted_by_month_and_the_same_when_months_are_summed_up(self) -> None:
        before = self.page(**YEAR, by="month")
        self.assertContains(before, "Cost per month")
        self.assertContains(before, "<title>May 2026: 1.5 USD cost</title>")
        self.assertEqual([row[0] for row in self.table(before)][1:4], ["2026-11", "2026-10", "2026-05"])
        months.sum_up_months()
        self.assertEqual(self.table(self.page(**YEAR, by="month")), self.table(before))
        by_day = self.page(**YEAR, by="day")
        self.assertContains(by_day, "<title>May 2026: 1.5 USD cost</title>")
        self.assertEqual(len(self.table(by_day)), 7)

    def test_filters_keep_what_they_name(self) -> None:
        for given, expected in (
            ({"group": self.support.pk}, 4),
            ({"user": "alice"}, 4),
            ({"user": "ALICE"}, 4),
            ({"key": f"cb_{self.key.kid}"}, 4),
            ({"key": str(self.key.pk)}, 4),
            ({"model": "echo"}, 4),
            ({"upstream": "openai", "user": "bob"}, 0),
            ({"model": "gpt"}, 0),
        ):
            with self.subTest(given):
                expected_rows = [row[1] for row in self.rows(**given, since="2026-04-01") if row[0] == "Total"]
                self.assertEqual(expected_rows, [str(expected)])

    def test_every_line_leads_to_its_own_page(self) -> None:
        for by in ("user", "group", "key", "model", "upstream", "day", "month"):
            response = self.page(by=by, **YEAR)
            links = re.findall(r'<th scope="row"><a href="\?([^"]+)"', response.content.decode())
            self.assertTrue(links, by)
            line = self.table(response)[1]
            below = self.table(self.client.get(f"{PAGE}?{links[0].replace('&amp;', '&')}"))
            self.assertEqual(below[-1][1:], line[1:], by)

    def test_the_file_has_exactly_what_is_shown(self) -> None:
        for by in ("user", "group", "key", "model", "upstream", "day", "month"):
            shown, file = self.table(self.page(by=by, **YEAR)), self.rows(by=by, **YEAR)
            self.assertEqual(len(shown), len(file))
            for line, row in zip(shown[1:], file[1:], strict=True):
                self.assertEqual(line[0], row[0].removeprefix("'"))
                self.assertEqual([float(cell.replace(",", "")) for cell in line[1:]], [float(cell) for cell in row[1:]])

    def test_a_name_in_the_file_is_no_formula(self) -> None:
        self.assertEqual(self.rows(by="group")[1][0], "'=SUM(A1:A9)")
        response = self.client.get(FILE)
        self.assertIn("usage-by-user-2026-10-22-2026-11-20.csv", response.headers["Content-Disposition"])
        self.assertEqual(response.headers["Content-Type"], "text/csv; charset=utf-8")

    def test_wrong_filters_are_explained_and_show_nothing(self) -> None:
        for given, said in (
            ({"since": "2025-10-31"}, "12 months back"),
            ({"since": "2026-11-02", "until": "2026-11-01"}, "after the last one"),
            ({"since": "yesterday"}, "Enter a valid date"),
            ({"since": "0001-01-01"}, "12 months back"),
            ({"by": "content"}, "Select a valid choice"),
            ({"user": "nobody-like-this"}, "no account of this name"),
            ({"key": "cb_nothing"}, "no key that begins"),
            ({"key": "x"}, "beginning of a key"),
            ({"group": "999999"}, "Select a valid choice"),
            ({"group": "x"}, "Select a valid choice"),
            ({"model": "a\x00b"}, "Null characters"),
            ({"model": "a" * 300}, "at most 200"),
        ):
            with self.subTest(given):
                response = self.page(**given)
                self.assertContains(response, said)
                self.assertNotContains(response, "<svg viewBox")
                self.assertEqual(self.client.get(f"{FILE}?{urlencode(given)}").status_code, 400)

    def test_a_period_in_the_future_is_today(self) -> None:
        self.assertEqual(self.rows(since="2027-01-01", until="2027-02-01")[-1][:2], ["Total", "0"])
        self.assertEqual(self.rows(since="2026-11-20", until="9999-12-31")[-1][:2], ["Total", "2"])

    def test_the_day_that_a_leap_year_ends_with(self) -> None:
        self.assertEqual(earliest(dt.date(2028, 2, 29)), dt.date(2027, 2, 1))

    def test_days_are_those_of_the_time_zone(self) -> None:
        with override_settings(USAGE_TIME_ZONE="Pacific/Auckland"):
            late = mock.patch.object(timezone, "now", return_value=dt.datetime(2026, 11, 20, 23, tzinfo=dt.UTC))
            with late:
                self.client.force_login(self.viewer)  # the session of the morning is over
                self.assertContains(self.page(), 'value="2026-11-21"')

    def test_who_may_not_see_it_gets_nothing(self) -> None:
        for user, status in ((self.clerk, 403), (self.alice, 302)):
            client = Client()
            client.force_login(user)
            for address in (PAGE, FILE):
                self.assertEqual(client.get(address).status_code, status, address)

    def test_what_an_erased_account_used_stays_without_a_link(self) -> None:
        delete_user(user=self.alice)
        response = self.page()
        self.assertContains(response, '<th scope="row">accounts that were erased</th>')
        self.assertNotContains(response, "alice")

    def test_queries_do_not_grow_with_what_was_used(self) -> None:
        months.sum_up_months()
        for turn in range(2):
            for by in ("user", "group", "key", "model", "upstream", "day", "month"):
                with self.subTest(by), self.assertNumQueriesAtMost(MAX_QUERIES):
                    self.page(by=by, **YEAR, user="alice")
            for number in range(5):
                other = register_user(username=f"other-{turn}-{number}")
                use(other, TODAY, model=f"model-{number}", key=issue_api_key(user=other)[0].pk)

    def assertNumQueriesAtMost(self, most: int) -> Any:
        from django.db import connection
        from django.test.utils import CaptureQueriesContext

        case = self

        class AtMost(CaptureQueriesContext):
            def __exit__(self, *raised: Any) -> None:
                super().__exit__(*raised)
                case.assertLessEqual(len(self), most, [query["sql"][:80] for query in self.captured_queries])

        return AtMost(connection)


@tried_once
class UsageAndContentTest(StaffCase):
    def test_nothing_that_was_said_is_shown(self) -> None:
        use(self.alice, timezone.now().date())
        for address in (PAGE, FILE):
            response = self.signed_in(self.root).get(address)
            self.assertContains(response, self.alice.username)
            self.assertNotContains(response, CANARY)


@tried_once
class SpreadsheetTest(TestCase):
    def test_what_a_spreadsheet_would_calculate_is_text(self) -> None:
        for text in ("=1+1", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "  =1", "＝1"):
            self.assertTrue(csv_text([[text]]).lstrip('"').startswith("'"), text)
        self.assertEqual(csv_text([["a-b", -1, 1.5]]), "a-b,-1,1.5\r\n")


@tried_once
class SmallAmountsTest(TestCase):
    def test_a_chart_of_cents_is_not_flat(self) -> None:
        days = [dt.date(2026, 11, day) for day in (1, 2)]
        chart = Chart("Cost", "USD", days, [Series("cost", [0.03, 0.0004])], is_whole=False)
        self.assertAlmostEqual(chart.highest, 0.032)
        self.assertIn("01 Nov: 0.03 USD", chart.svg)
        self.assertIn("02 Nov: 0.0004 USD", chart.svg)
