"""The reaper's sweep reports budgets and sums up months, and no mail server delays it."""

from __future__ import annotations

import datetime as dt
import inspect
import socket
import time
from contextlib import ExitStack
from unittest import mock

from django.test import TestCase
from django.utils import timezone

from accounts.services import register_user
from completions import reaper
from usage import budget_rules, months, warnings
from usage.models import Budget, BudgetUse
from usage.tests.ledger_rows import use
from usage.tests.test_warnings import MailCase, used

OURS = ("usage.months", "usage.warnings")


class Stopped(Exception):
    """Ends the loop of the reaper, which never ends by itself."""


def sweep() -> None:
    """Do once what the reaper does for usage: the rest needs connections of its own."""
    others = [name for name, each in vars(reaper).items() if inspect.isfunction(each) and each.__module__ not in OURS]
    with ExitStack() as patched:
        for name in {*others, "connection"} - {"_sweep_forever"}:
            patched.enter_context(mock.patch.object(reaper, name))
        threads = patched.enter_context(mock.patch.object(reaper, "threading"))
        threads.Event.return_value.wait.side_effect = Stopped
        try:
            reaper._sweep_forever()
        except Stopped:
            return


class SweepTest(MailCase, TestCase):
    def setUp(self) -> None:
        self.alice = register_user(username="alice")
        budget_rules.forget_budgets()
        self.addCleanup(budget_rules.forget_budgets)
        self.enterContext(mock.patch.object(warnings, "_next_look", 0.0))

    def test_it_reports_budgets_though_the_mail_server_says_nothing(self) -> None:
        budget = Budget.objects.create(name="Team", max_tokens=10)
        used(budget, used_tokens=9)
        with socket.create_server(("127.0.0.1", 0)) as silent, self.assertLogs("usage", "WARNING") as logs:
            outbox = self.send_to(silent.getsockname()[1], timeout=1.5, attempts=1)
            began = time.monotonic()
            sweep()
            self.assertLess(time.monotonic() - began, 1)
            self.assertTrue(outbox.join(20))
        self.assertEqual(BudgetUse.objects.get().warned, 80)
        self.assertEqual([record.name for record in logs.records], ["usage.warnings", "usage.outbox"])

    def test_it_sums_up_months(self) -> None:
        use(self.alice, timezone.now().date() - dt.timedelta(days=70))
        sweep()
        self.assertEqual(len(months.summed_months()), 1)
