"""The dashboard's figures are right on both databases, and its charts also state their data in words."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any
from unittest import mock

from django.db import OperationalError
from django.test import SimpleTestCase
from django.utils import timezone

from completions.models import Run
from completions.token_counts import token_counts
from conversations.models import Conversation
from dashboard import figures, page
from dashboard.charts import Chart, Series, round_up
from foundation.ids import first_id_of
from search import timings
from tests.staff import CANARY, LIST, REASON, StaffCase

DAYS = [dt.date(2026, 11, 1) + dt.timedelta(days=day) for day in range(3)]


class FiguresTest(StaffCase):
    def setUp(self) -> None:
        page.forget()
        self.addCleanup(page.forget)

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

    def test_today_is_asked_for_each_time_and_the_past_once_an_hour(self) -> None:
        self.run_of(days=3)
        before, _ = figures.times_to("first_token_at")
        self.run_of(days=2)
        self.run_of()
        after, _ = figures.times_to("first_token_at")
        self.assertEqual(after[:-1], before[:-1])
        self.assertIsNotNone(after[-1])
        figures.forget()
        self.assertIsNotNone(figures.times_to("first_token_at")[0][-3])

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
            f"{LIST}?q=anything", {"content_search": "1", "reason": REASON}, follow=True
        )
        self.assertEqual(response.status_code, 200)
        self.assertEqual(figures.search_times()[2], count + 1)

    def test_a_part_that_takes_too_long_leaves_the_others(self) -> None:
        with mock.patch.object(figures, "tokens", side_effect=OperationalError("statement timeout")):
            response = self.signed_in(self.root).get("/admin/dashboard/")
        self.assertContains(response, "the database took too long")
        self.assertContains(response, "Time to the first token")

    def test_it_is_computed_once_a_minute(self) -> None:
        first = page.sections()
        self.assertIs(page.sections(), first)


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
