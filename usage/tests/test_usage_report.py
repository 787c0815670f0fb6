"""`manage.py usage_report`: the same figures as CSV, JSON and a table."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from typing import Any

from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command
from django.test import TestCase

from accounts.services import register_user
from usage.tests.ledger_rows import use

NOVEMBER = dt.date(2026, 11, 5)


class UsageReportTest(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        cls.alice, cls.bob = register_user(username="alice"), register_user(username="bob")
        cls.alice.groups.add(Group.objects.create(name="=1+1"))
        use(cls.alice, NOVEMBER, cost=1_234_567, times=2)
        use(cls.bob, NOVEMBER, cost=10)
        use(cls.bob, dt.date(2026, 10, 31), cost=5_000_000)

    def report(self, *arguments: str) -> str:
        out = io.StringIO()
        call_command("usage_report", *arguments, stdout=out)
        return out.getvalue()

    def rows(self, *arguments: str) -> list[dict[str, Any]]:
        return list(csv.DictReader(io.StringIO(self.report(*arguments, "--format", "csv"))))

    def test_a_month_by_user_as_csv(self) -> None:
        rows = self.rows("--month", "2026-11")
        self.assertEqual([(row["user"], row["cost"], row["currency"]) for row in rows][0], ("alice", "2.469134", "USD"))
        self.assertEqual([row["requests"] for row in rows], ["2", "1"])

    def test_a_name_is_no_formula(self) -> None:
        self.assertEqual(self.rows("--by", "group", "--month", "2026-11")[0]["group"], "'=1+1")

    def test_days_of_ones_own(self) -> None:
        rows = self.rows("--by", "day", "--since", "2026-10-31", "--until", "2026-11-05")
        self.assertEqual([row["day"] for row in rows], ["2026-11-05", "2026-10-31"])
        self.assertEqual(self.rows("--by", "day", "--until", "2026-10-31"), rows[1:])

    def test_json_has_ids_and_a_total(self) -> None:
        found = json.loads(self.report("--by", "user", "--month", "2026-11", "--format", "json"))
        self.assertEqual((found["since"], found["until"]), ("2026-11-01", "2026-11-30"))
        self.assertEqual(found["lines"][0]["id"], str(self.alice.pk))
        self.assertEqual(found["total"]["cost"], "2.469144")

    def test_a_table_is_aligned_and_has_a_total(self) -> None:
        lines = self.report("--by", "model", "--month", "2026-11").splitlines()
        self.assertEqual(len({len(line) for line in lines}), 1, lines)
        self.assertTrue(lines[-1].startswith("total") and lines[-1].endswith("2.469144"), lines)

    def test_nothing_used_is_an_empty_table(self) -> None:
        self.assertEqual(self.rows("--month", "2020-01"), [])
        self.assertIn("total", self.report("--month", "2020-01"))

    def test_wrong_arguments_are_explained(self) -> None:
        for arguments, said in (
            (["--month", "2026-13"], "2026-13"),
            (["--month", "November"], "2026-11"),
            (["--since", "2026-02-30"], "2026-02-30"),
            (["--since", "2026-02-03", "--until", "2026-02-02"], "after the last"),
            (["--month", "2026-02", "--since", "2026-02-02"], "not combined"),
            (["--by", "message"], "invalid choice"),
        ):
            with self.assertRaisesRegex(CommandError, said):
                self.report(*arguments)
