"""The dashboard's figures are right on both databases, and its charts also state their data in words."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from typing import Any
from unittest import mock

from django.db import OperationalError, connection
from django.test import SimpleTestCase
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from completions.models import Run
from completions.token_counts import token_counts
from conversations.models import Conversation
from dashboard import figures, now, page
from dashboard.charts import Chart, Series, round_up
from foundation.ids import first_id_of
from search import timings
from tests.staff import CANARY, LIST, REASON, StaffCase, staff
from usage.models import Budget, BudgetUse, DailyUsage
from usage.periods import day_of, start_of

DAYS = [dt.date(2026, 11, 1) + dt.timedelta(days=day) for day in range(3)]


class FiguresTest(StaffCase):
    def setUp(self) -> None:
        page.forget()
        self.addCleanup(page.forget)
        self.enterContext(mock.patch.object(figures, "BUDGET_SECONDS", float("inf")))

    def run_of(self, *, days: float = 0, first: float = 100, total: float = 1_000, **more: Any) -> Run:
        began = timezone.now() - dt.timedelta(days=days)
        fields: dict[str, Any] = {
            "id": uuid.UUID(int=first_id_of(began).int + uuid.uuid4().int % 2**60),
            "user": self.alice,
            "upstream": "x",
            "model": "m",
            "state": "complete",
            "worker": "none",
            "lease_until": 0,
            "created_at": began,
            "first_token_at": began + dt.timedelta(milliseconds=first),
            "finished_at": began + dt.timedelta(milliseconds=total),
            **more,
            **token_counts(more.get("usage")),
        }
        return Run.objects.create(**fields)

    def test_percentiles_are_within_a_bucket(self) -> None:
        for first in range(10, 1_010, 10):  # p50 500, p95 950
            self.run_of(first=first, total=first * 10)
        middle, slow = figures.times_to("first_token_at")
        _, slowest = figures.times_to("finished_at")
        assert middle[-1] and slow[-1] and slowest[-1]
        self.assertAlmostEqual(middle[-1], 500, delta=50)
        self.assertAlmostEqual(slow[-1], 950, delta=95)
        self.assertAlmostEqual(slowest[-1], 9_500, delta=950)
        self.assertEqual(set(middle[:-1]), {None})

    def test_the_time_that_a_run_waited_in_a_queue_does_not_count(self) -> None:
        began = timezone.now()
        self.run_of(first=60_100, total=61_000, created_at=began, started_at=began + dt.timedelta(seconds=60))
        for column, expected in (("first_token_at", 100), ("finished_at", 1_000)):
            middle = figures.times_to(column)[0][-1]
            assert middle is not None
            self.assertAlmostEqual(middle, expected, delta=expected / 10)

    def test_a_run_without_a_token_and_one_that_took_no_time(self) -> None:
        self.run_of(first_token_at=None)
        self.assertIsNone(figures.times_to("first_token_at")[0][-1])
        self.run_of(first=0, total=0)
        self.assertLess(figures.times_to("first_token_at")[0][-1] or 9, 2)

    def test_today_is_counted_each_time_and_a_day_that_is_over_once(self) -> None:
        self.run_of(days=3)
        before, _ = figures.times_to("first_token_at")
        self.run_of(days=2)
        self.run_of()
        after, _ = figures.times_to("first_token_at")
        self.assertEqual(after[:-1], before[:-1])
        self.assertIsNotNone(after[-1])
        for _ in range(figures.DAYS):  # each time one day is counted anew
            again, _ = figures.times_to("first_token_at")
        self.assertIsNotNone(again[-3])

    def test_no_request_waits_for_all_days_and_all_are_counted_in_the_end(self) -> None:
        for days in range(30):
            Conversation.objects.create(
                id=first_id_of(timezone.now() - dt.timedelta(days=days, milliseconds=1)),
                created_at=timezone.now() - dt.timedelta(days=days, milliseconds=1),
                owner=self.alice,
            )
        with mock.patch.object(figures, "BUDGET_SECONDS", 0):
            row = figures.started_conversations()
            self.assertEqual([value is None for value in row], [True] * 28 + [False] * 2)
            self.assertEqual(figures.first_counted(), figures.days()[-2])
            for _ in range(28):
                with CaptureQueriesContext(connection) as queries:
                    row = figures.started_conversations()
                self.assertEqual(len(queries), 2)
        self.assertNotIn(None, row)
        self.assertEqual(sum(filter(None, row[:-1])), 29)
        self.assertEqual(figures.first_counted(), figures.days()[0])
        with self.assertNumQueries(2):  # today, and one day anew
            figures.started_conversations()

    def test_tokens_are_added_by_day(self) -> None:
        self.run_of(usage={"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107})
        self.run_of(usage={"prompt_tokens": 50, "completion_tokens": 3})
        self.run_of(usage=None)
        self.run_of(usage={"total_tokens": 5})
        self.run_of(days=40, usage={"prompt_tokens": 1_000_000, "completion_tokens": 1})
        asked, answered = figures.tokens()
        self.assertEqual((asked[-1], sum(filter(None, asked)), answered[-1]), (150, 150, 10))

    def test_errors_are_counted_by_what_they_have_in_common(self) -> None:
        self.run_of(error_code="upstream_timeout", state="failed")
        self.run_of(error_code="upstream_truncated", state="failed", model="other")
        self.run_of(days=40, error_code="upstream_timeout", state="failed")
        self.assertEqual(figures.errors_by("error_code"), [("upstream_timeout", 2), ("upstream_truncated", 1)])
        self.assertEqual(figures.errors_by("model"), [("echo", 1), ("m", 1), ("other", 1)])
        self.assertEqual(figures.errors_by("user__username"), [(self.alice.username, 3)])

    def test_what_is_older_is_not_counted(self) -> None:
        began = timezone.now() - dt.timedelta(days=40)
        Conversation.objects.create(id=first_id_of(began), owner=self.alice, created_at=began)
        self.assertEqual(
            [sum(filter(None, row)) for row in (figures.started_conversations(), figures.messages())], [1, 2]
        )
        self.assertEqual(figures.started_conversations()[-1], 1)

    def test_the_page_shows_counts_and_nothing_that_was_said(self) -> None:
        response = self.signed_in(self.dan).get("/admin/dashboard/")
        self.assertContains(response, "Messages per day")
        self.assertContains(response, "upstream_timeout")
        self.assertNotContains(response, CANARY)
        self.assertEqual(self.signed_in(self.eve).get("/admin/dashboard/").status_code, 403)

    def test_searches_are_counted_by_how_long_they_took(self) -> None:
        timings.write()
        _, _, before = figures.search_times()
        for _ in range(2):  # rows are first inserted, then updated
            for milliseconds in range(10, 1_010, 10):
                timings.note(milliseconds)
            timings.write()
        middle, slow, count = figures.search_times()
        self.assertEqual(count, before + 200)
        self.assertAlmostEqual(middle[-1] or 0, 500, delta=60)
        self.assertAlmostEqual(slow[-1] or 0, 950, delta=100)
        response = self.signed_in(self.root).post(
            f"{LIST}?said=anything", {"content_search": "1", "reason": REASON}, follow=True
        )
        self.assertEqual(response.status_code, 200)
        self.assertEqual(figures.search_times()[2], count + 1)

    def test_a_part_that_takes_too_long_leaves_the_others(self) -> None:
        with mock.patch.object(figures, "tokens", side_effect=OperationalError("statement timeout")):
            response = self.signed_in(self.root).get("/admin/dashboard/")
        self.assertContains(response, "the database took too long")
        self.assertContains(response, "Time to the first token")

    def test_it_is_computed_once_a_minute(self) -> None:
        first = page.sections(self.root)
        with self.assertNumQueries(0):
            self.assertEqual(page.sections(self.root), first)

    def test_the_start_says_what_is_wrong_now_with_links(self) -> None:
        client = self.signed_in(self.root)
        for _ in range(3):
            self.run_of(error_code="upstream_timeout", state="failed", model="worse", upstream="east")
        for _ in range(99):
            self.run_of(model="good")
        self.run_of(error_code="upstream_timeout", state="failed", model="good")
        budget = Budget.objects.create(name="Research & more", period="day", max_tokens=100)
        start = start_of("day", timezone.now())
        BudgetUse.objects.create(id=uuid.uuid4(), budget=budget, start=start, used_tokens=97)
        with mock.patch.object(now, "BEHIND", 1):
            shown = client.get("/admin/")
        self.assertContains(shown, "worse at east: 3 of 3 runs of the past hour failed (upstream_timeout)")
        self.assertNotContains(shown, "good at x")
        self.assertContains(shown, "The budget Research &amp; more is used to 97 %")
        self.assertContains(shown, "The search index is behind")
        for address in re.findall(r'<li><a href="([^"]+)">', shown.content.decode().partition('class="alarms"')[2]):
            self.assertEqual(client.get(address.replace("&amp;", "&")).status_code, 200, address)
        self.assertContains(client.get("/admin/completions/run/?model=worse&upstream=east&made=hour"), "3 runs")
        self.assertNotContains(self.signed_in(self.eve).get("/admin/"), "worse at east")
        runs_only = self.signed_in(staff("operator", "view_run")).get("/admin/")
        self.assertContains(runs_only, "worse at east")
        for closed in ("Research", "Spent", "Active"):
            self.assertNotContains(runs_only, closed)

    def test_what_was_spent_and_who_is_active(self) -> None:
        today = day_of(timezone.now())
        row = {"user": self.alice, "model": "m", "upstream": "x", "cost": 1_500_000}
        for day, requests in ((today, 7), (today - dt.timedelta(days=1), 2), (today - dt.timedelta(days=9), 5)):
            DailyUsage.objects.create(id=uuid.uuid4(), day=day, requests=requests, **row)
        shown = self.signed_in(self.dan).get("/admin/")
        for words in ("Today, 7 requests", "Yesterday, 2 requests", "7 days, 9 requests", "30 days, 14 requests"):
            self.assertContains(shown, words)
        self.assertContains(shown, ">4.50 ")
        self.assertContains(shown, f'<a href="/admin/accounts/user/{self.alice.pk}/change/">{self.alice.username}</a>')
        self.assertContains(shown, "<td>9</td>")

    def test_failed_runs_are_grouped_over_any_dates_and_lead_to_the_runs(self) -> None:
        client = self.signed_in(self.dan)
        for days, code, model in ((0, "a", "m"), (0, "a", "n"), (2, "b", "m"), (400, "a", "m"), (800, "c", "m")):
            self.run_of(days=days, error_code=code, state="failed", model=model)
        self.stored_run.delete()
        page_of = "/admin/dashboard/failures/"
        found = client.get(page_of).context["report"]
        self.assertEqual([(line.name, line.count) for line in found.lines], [("a", 2), ("b", 1)])
        long = client.get(f"{page_of}?since=2001-01-01&until=9999-12-31&by=model")
        found = long.context["report"]
        self.assertEqual([(line.name, line.count) for line in found.lines], [("m", 4), ("n", 1)])
        self.assertTrue(found.chart.by_month)
        self.assertEqual(sum(map(sum, (series.values for series in found.chart.series))), 5)
        self.assertContains(client.get(found.lines[0].runs), "4 runs")
        one = client.get(f"{page_of}?{found.lines[0].query}").context["report"]
        self.assertEqual((one.by, one.count), ("upstream", 4))
        for wrong in ("since=x", "since=2026-01-02&until=2026-01-01", "by=user"):
            self.assertIsNone(client.get(f"{page_of}?{wrong}").context["report"], wrong)
        with mock.patch("dashboard.failures._report", side_effect=OperationalError("statement timeout")):
            self.assertContains(client.get(page_of), "choose fewer days")
        self.assertEqual(self.signed_in(self.eve).get(page_of).status_code, 403)

    def test_figures_lead_to_the_rows_that_they_count(self) -> None:
        client = self.signed_in(self.dan)
        shown = client.get("/admin/dashboard/").content.decode()
        since = figures.days()[0]
        runs = "/admin/completions/run/"
        for address in (
            f"{runs}?error=upstream_timeout&amp;since={since}",
            f"{runs}?model=echo&amp;since={since}&amp;failed=yes",
            f"{runs}?user={self.alice.username}&amp;since={since}&amp;failed=yes",
        ):
            self.assertIn(f'href="{address}"', shown)
            self.assertContains(client.get(address.replace("&amp;", "&")), str(self.stored_run.pk))


class ChartTest(SimpleTestCase):
    def chart(self, *values: float | None, kind: str = "bars") -> Chart:
        return Chart("Answers", "answers", DAYS, [Series("<all>", values)], kind=kind)

    def test_it_says_in_words_what_it_draws(self) -> None:
        svg = self.chart(1, 5, 3).svg
        self.assertIn('role="img" aria-label="Answers: &lt;all&gt; from 1 to 5 answers"', svg)
        self.assertIn("<title>02 Nov: 5 answers &lt;all&gt;</title>", svg)
        self.assertEqual(svg.count("<rect"), 3)

    def test_a_line_has_a_gap_where_nothing_was_measured(self) -> None:
        svg = self.chart(1, None, 3, kind="lines").svg
        self.assertEqual(svg.count("<circle"), 2)

    def test_the_same_as_a_table_without_empty_days(self) -> None:
        self.assertEqual(self.chart(1, 0, 1234.5).rows, [(DAYS[2], ["1,234"]), (DAYS[0], ["1"])])
        self.assertTrue(self.chart(0, None, 0).is_empty)

    def test_axes_end_with_round_numbers(self) -> None:
        for value, end in ((0, 4), (3, 4), (5, 8), (9, 12), (41, 80), (95, 120), (1_001, 1_200), (2.5e6, 3.2e6)):
            self.assertEqual(round_up(value), end, value)
