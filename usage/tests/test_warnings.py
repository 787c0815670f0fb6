"""Warnings of budgets: logged and mailed once per period and threshold, over a real mail server that may fail."""

from __future__ import annotations

import datetime as dt
import email.policy
import socket
import threading
import time
from email.message import EmailMessage as Parsed
from typing import Any
from unittest import mock

from aiosmtpd.controller import Controller
from django.contrib.auth.models import Group
from django.core.mail import EmailMessage
from django.db import connection
from django.test import SimpleTestCase, TestCase, TransactionTestCase, override_settings
from django.utils import timezone

from accounts.models import User
from accounts.services import issue_api_key, register_user
from chatservice.testing import free_port
from usage import budget_rules, warnings
from usage.models import Budget, BudgetUse
from usage.outbox import Outbox
from usage.periods import start_of
from usage.row_ids import row_id
from usage.warnings import report_budgets, warn_of_budgets

STAFF = ["staff@example.org", "boss@example.org"]
SECONDS = 20


class Inbox:
    """Keeps what a mail server receives; the first `failures` mails are refused."""

    def __init__(self, failures: int = 0, code: str = "451 try again") -> None:
        self.mails: list[Parsed] = []
        self.tried = 0
        self.failures, self.code = failures, code

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.tried += 1
        if self.tried <= self.failures:
            return self.code
        parsed: Any = email.message_from_bytes(envelope.content, policy=email.policy.default)
        parsed.rcpt = list(envelope.rcpt_tos)
        self.mails.append(parsed)
        return "250 OK"


class MailCase:
    """Starts a mail server on loopback, and an outbox that sends to it."""

    def serve(self: Any, inbox: Inbox, **options: Any) -> Outbox:
        controller = Controller(inbox, hostname="127.0.0.1", port=free_port())
        controller.start()
        self.addCleanup(controller.stop)
        return self.send_to(controller.port, **options)

    def send_to(self: Any, port: int, timeout: float = 5, **options: Any) -> Outbox:
        backend = "django.core.mail.backends.smtp.EmailBackend"
        mail = {"EMAIL_BACKEND": backend, "EMAIL_HOST": "127.0.0.1", "EMAIL_PORT": port, "EMAIL_TIMEOUT": timeout}
        changed = override_settings(**mail, BUDGET_MAIL=STAFF, DEFAULT_FROM_EMAIL="chat@example.org")
        changed.enable()
        self.addCleanup(changed.disable)
        outbox = Outbox(**{"pause": 0.01, **options})
        replaced = mock.patch.object(warnings, "outbox", outbox)
        replaced.start()
        self.addCleanup(replaced.stop)
        self.addCleanup(outbox.join, SECONDS)
        return outbox


def used(budget: Budget, *, member: str = "", **amounts: int) -> BudgetUse:
    start = start_of(budget.period, timezone.now())
    return BudgetUse.objects.create(
        pk=row_id(budget.pk, member, start), budget=budget, member=member, start=start, **amounts
    )


class WarningsTest(MailCase, TestCase):
    def setUp(self) -> None:
        self.alice = register_user(username="alice", email="alice@example.org")
        self.bob = register_user(username="bob")
        self.budget = Budget.objects.create(name="Alice's", user=self.alice, max_cost=1_000_000, max_tokens=10_000)
        self.inbox = Inbox()
        self.outbox = self.serve(self.inbox)
        budget_rules.forget_budgets()
        self.addCleanup(budget_rules.forget_budgets)

    def reported(self) -> list[str]:
        """Report what there is to report; return the lines of the log."""
        with self.assertLogs("usage.warnings", "INFO") as logs:
            logs.records.clear()
            warnings.logger.info("begin")
            report_budgets()
        self.assertTrue(self.outbox.join(SECONDS))
        return [record.getMessage() for record in logs.records[1:]]

    def use(self, **amounts: int) -> None:
        BudgetUse.objects.filter(budget=self.budget).update(**amounts)

    def test_each_threshold_of_a_period_is_reported_once(self) -> None:
        used(self.budget, used_cost=799_999)
        self.assertEqual(self.reported(), [])
        self.use(used_cost=800_000)
        self.assertEqual(self.reported(), ['budget "Alice\'s": 80 % or more of it is used'])
        self.use(used_cost=990_000)
        self.assertEqual(self.reported(), [])
        self.use(used_cost=1_000_000)
        self.assertEqual(self.reported(), ['budget "Alice\'s": 100 % or more of it is used'])
        self.use(used_cost=2_000_000)
        self.assertEqual(self.reported(), [])
        self.assertEqual(len(self.inbox.mails), 4)
        next_month = timezone.now() + dt.timedelta(days=32)
        with mock.patch.object(timezone, "now", return_value=next_month):
            self.assertEqual(self.reported(), [])
            used(self.budget, used_tokens=9_000)
            self.assertEqual(len(self.reported()), 1)

    def test_a_budget_that_passes_both_thresholds_at_once_is_reported_once(self) -> None:
        used(self.budget, used_tokens=10_001)
        self.assertEqual(len(self.reported()), 1)
        self.assertEqual(self.reported(), [])

    def test_reservations_do_not_warn(self) -> None:
        used(self.budget, reserved_cost=1_000_000, reserved_tokens=10_000)
        self.assertEqual(self.reported(), [])

    def test_mails_go_to_staff_and_to_the_owner_apart(self) -> None:
        used(self.budget, used_cost=900_000, used_tokens=5)
        self.reported()
        to_staff, to_owner = sorted(self.inbox.mails, key=lambda mail: len(mail.rcpt), reverse=True)
        self.assertEqual((to_staff.rcpt, to_owner.rcpt), (STAFF, ["alice@example.org"]))
        self.assertNotIn("staff@", to_owner.as_string())
        self.assertEqual(to_owner["Subject"], "Budget 'Alice's' of alice: 80 % used")
        self.assertEqual(to_owner["From"], "chat@example.org")
        text = to_owner.get_content()
        self.assertIn("Cost: 0.90 USD of 1.00 USD", text)
        self.assertIn("Tokens: 5 of 10,000", text)
        self.assertIn("It is renewed at ", text)

    def test_whose_budget_it_is(self) -> None:
        key, _ = issue_api_key(user=self.alice)
        group = Group.objects.create(name="Support")
        for fields, member, address in (
            ({"api_key": key}, "", "alice@example.org"),
            ({"group": group, "for_each": True}, self.alice.pk.hex, "alice@example.org"),
            ({"for_each": True, "end_user": "*"}, f"{self.alice.pk.hex} guest 7", "alice@example.org"),
            ({"group": group}, "", ""),
            ({"user": self.bob}, "", ""),
            ({"for_each": True}, "0" * 32, ""),
        ):
            self.inbox.mails.clear()
            budget = Budget.objects.create(name=f"{fields} {member}"[:100], max_tokens=1, **fields)
            used(budget, member=member, used_tokens=1)
            self.assertEqual(len(self.reported()), 1)
            found = [mail.rcpt for mail in self.inbox.mails]
            self.assertEqual(sorted(found), sorted([STAFF, *([[address]] if address else [])]), fields)

    def test_a_name_of_several_lines_adds_no_header(self) -> None:
        self.budget.name = "Team\r\nBcc: eve@example.org"
        self.budget.save()
        used(self.budget, used_tokens=10_000)
        self.reported()
        for mail in self.inbox.mails:
            self.assertIsNone(mail["Bcc"])
            self.assertNotIn("eve@example.org", mail.rcpt)

    def test_budgets_that_are_off_and_limits_of_nothing_do_not_warn(self) -> None:
        used(Budget.objects.create(name="Off", max_tokens=1, is_active=False), used_tokens=1)
        used(Budget.objects.create(name="Nothing", max_tokens=0))
        used(Budget.objects.create(name="Huge", max_tokens=2**62), used_tokens=2**61)
        self.assertEqual(self.reported(), [])

    def test_without_addresses_it_is_only_logged(self) -> None:
        used(self.budget, used_tokens=10_000)
        with override_settings(BUDGET_MAIL=[]):
            self.assertEqual(len(self.reported()), 1)
        self.assertEqual(self.inbox.tried, 0)

    def test_where_there_are_no_budgets_nothing_is_asked(self) -> None:
        self.budget.delete()
        budget_rules.rules()
        with mock.patch.object(warnings, "_next_look", 0.0), self.assertNumQueries(0):
            warn_of_budgets()

    def test_the_sweep_looks_at_most_every_few_seconds(self) -> None:
        budget_rules.rules()
        with mock.patch.object(warnings, "_next_look", 0.0):
            with self.assertNumQueries(1):
                warn_of_budgets()
            with self.assertNumQueries(0):
                warn_of_budgets()


class ManyProcessesTest(MailCase, TransactionTestCase):
    def test_many_at_once_report_once(self) -> None:
        """Threads have connections of their own, as processes have."""
        if connection.vendor == "sqlite":
            self.skipTest("the tests' SQLite database is of one process")
        inbox = Inbox()
        outbox = self.serve(inbox)
        budget = Budget.objects.create(name="All", max_tokens=10)
        used(budget, used_tokens=9)
        counts: list[int] = []
        together = threading.Barrier(6)

        def process() -> None:
            try:
                together.wait(SECONDS)
                counts.append(report_budgets())
            finally:
                connection.close()

        for tokens, mails in ((9, 1), (10, 2)):
            BudgetUse.objects.update(used_tokens=tokens)
            threads = [threading.Thread(target=process) for _ in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(SECONDS)
            self.assertTrue(outbox.join(SECONDS))
            self.assertEqual((sum(counts), len(inbox.mails)), (mails, mails))
        User.objects.all().delete()


class OutboxTest(MailCase, SimpleTestCase):
    def message(self, subject: str = "Hello") -> EmailMessage:
        return EmailMessage(subject, "A text", "chat@example.org", ["alice@example.org"])

    def test_a_refusal_that_may_pass_is_tried_again(self) -> None:
        inbox = Inbox(failures=2)
        outbox = self.serve(inbox)
        with self.assertLogs("usage.outbox", "WARNING") as logs:
            outbox.post(self.message())
            self.assertTrue(outbox.join(SECONDS))
        self.assertEqual((inbox.tried, len(inbox.mails)), (3, 1))
        self.assertIn("SMTPDataError 451, attempt 1", logs.output[0])
        self.assertNotIn("alice@example.org", str(logs.output))

    def test_it_gives_up_after_some_attempts_and_sends_the_next(self) -> None:
        inbox = Inbox(failures=3)
        outbox = self.serve(inbox, attempts=3)
        with self.assertLogs("usage.outbox", "WARNING") as logs:
            outbox.post(self.message())
            self.assertTrue(outbox.join(SECONDS))
        self.assertIn("ERROR:usage.outbox:a mail is not sent", logs.output[-1])
        outbox.post(self.message("Next"))
        self.assertTrue(outbox.join(SECONDS))
        self.assertEqual([mail["Subject"] for mail in inbox.mails], ["Next"])

    def test_a_server_that_says_nothing_delays_only_mail(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            outbox = self.send_to(silent.getsockname()[1], timeout=0.2, attempts=2)
            with self.assertLogs("usage.outbox", "WARNING") as logs:
                began = time.monotonic()
                outbox.post(self.message())
                self.assertLess(time.monotonic() - began, 0.15)
                self.assertTrue(outbox.join(SECONDS))
        self.assertEqual(len(logs.output), 2)

    def test_a_server_that_refuses_connections_is_logged(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        outbox = self.send_to(port, attempts=2)
        with self.assertLogs("usage.outbox", "WARNING") as logs:
            outbox.post(self.message())
            self.assertTrue(outbox.join(SECONDS))
        self.assertIn("ConnectionRefusedError", logs.output[0])

    def test_a_mail_that_can_never_be_sent_is_not_tried_again(self) -> None:
        outbox = self.serve(Inbox())
        with self.assertLogs("usage.outbox", "ERROR") as logs:
            outbox.post(self.message("two\nlines"))
            self.assertTrue(outbox.join(SECONDS))
        self.assertIn("BadHeaderError, attempt 1", logs.output[0])

    def test_only_so_many_mails_wait(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            outbox = self.send_to(silent.getsockname()[1], timeout=0.5, attempts=1, most=2)
            with self.assertLogs("usage.outbox", "ERROR") as logs:
                for _ in range(5):
                    outbox.post(self.message())
                self.assertTrue(outbox.join(SECONDS))
        self.assertTrue(any("2 others wait" in line for line in logs.output), logs.output)
