"""Events are written in the transaction of what they tell, for those who want them only."""

from __future__ import annotations

import json
import tempfile
from io import StringIO
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.services import delete_user
from completions import queueing, services
from completions.models import Run
from completions.run_requests import RunHandle
from completions.run_results import RunResult
from completions.tests.asking import accept_one, end_run, question, somebody
from conversations.services import start_conversation
from foundation.ids import uuid7
from usage.models import Budget, BudgetUse
from usage.periods import first_day
from usage.warnings import report_budgets
from webhooks.delivery import body_of
from webhooks.endpoints import subscriptions
from webhooks.models import WebhookDelivery
from webhooks.tests.case import WebhookCase, make_endpoint

CANARY = "CANARYTOLDINPRIVATE"


def told() -> list[tuple[str, str]]:
    """Return the type and the id of what each event is of, oldest first."""
    return [(each.event_type, each.data["id"]) for each in WebhookDelivery.objects.order_by("id")]


class OutboxTest(WebhookCase):
    def setUp(self) -> None:
        super().setUp()
        self.alice = somebody("alice")

    def asked(self, *, background: bool = True, **fields: Any) -> RunHandle:
        return accept_one(question(self.alice, CANARY, echo={"background": background}, **fields))

    def end(self, handle: RunHandle, status: str = "complete", **fields: Any) -> None:
        end_run(RunResult(handle.run_id, handle.message_id, handle.conversation_id, status, content=CANARY, **fields))

    def test_each_end_of_a_run_has_its_event(self) -> None:
        make_endpoint(
            event_types=["response.completed", "response.incomplete", "response.failed", "response.cancelled"]
        )
        ends = (
            ("complete", "stop", "response.completed"),
            ("complete", "length", "response.incomplete"),
            ("complete", "content_filter", "response.incomplete"),
            ("failed", "", "response.failed"),
            ("cancelled", "", "response.cancelled"),
        )
        expected = []
        for status, reason, event_type in ends:
            handle = self.asked()
            self.end(handle, status, finish_reason=reason)
            expected.append((event_type, f"resp_{handle.run_id.hex}"))
        handle = self.asked()
        services.interrupt(Run.objects.get(pk=handle.run_id))
        expected.append(("response.failed", f"resp_{handle.run_id.hex}"))
        self.assertEqual(told(), expected)

    def test_a_question_that_is_cancelled_while_it_waits_is_told(self) -> None:
        make_endpoint(event_types=["response.cancelled"])
        first = self.asked()
        waiting = self.asked(conversation_id=first.conversation_id, when_busy="queue")
        self.assertTrue(queueing.cancel(waiting.run_id))
        self.assertEqual(told(), [("response.cancelled", f"resp_{waiting.run_id.hex}")])

    def test_only_the_background_is_told_unless_all_answers_are_wanted(self) -> None:
        usual = make_endpoint(event_types=["response.completed"])
        whole = make_endpoint(event_types=["response.completed"], all_answers=True)
        other = make_endpoint(event_types=["response.failed"], all_answers=True)
        for background in (True, False):
            self.end(self.asked(background=background))
        self.end(accept_one(question(self.alice, "Of another API")))
        self.end(self.asked(store=False))
        self.assertEqual([each.deliveries.count() for each in (usual, whole, other)], [1, 3, 0])
        first = usual.deliveries.get()
        self.assertTrue(whole.deliveries.filter(event_id=first.event_id).exists(), "one event has one id everywhere")

    def test_a_run_that_was_lost_is_not_told_twice(self) -> None:
        make_endpoint()
        handle = self.asked()
        services.interrupt(Run.objects.get(pk=handle.run_id))
        before = told()
        self.end(handle)
        self.assertEqual(told(), before)

    def test_what_is_rolled_back_is_told_to_nobody(self) -> None:
        make_endpoint()
        handle = self.asked()
        before = told()
        with transaction.atomic():
            self.end(handle)
            start_conversation(owner_id=self.alice.pk)
            self.assertEqual(len(told()), len(before) + 2)
            transaction.set_rollback(True)
        self.assertEqual(told(), before)

    def test_new_conversations_are_told_once_each(self) -> None:
        make_endpoint(event_types=["conversation.created"])
        by_hand = start_conversation(owner_id=self.alice.pk, title=CANARY)
        handle = self.asked()
        self.end(handle)
        self.asked(conversation_id=handle.conversation_id)
        assert handle.conversation_id is not None
        expected = [by_hand.pk.hex, handle.conversation_id.hex]
        self.assertEqual(told(), [("conversation.created", f"conv_{each}") for each in expected])

    def test_budgets_are_told_with_whose_they_are(self) -> None:
        make_endpoint(event_types=["budget.warning"])
        budget = Budget.objects.create(name=CANARY, user=self.alice, max_tokens=100)
        start = first_day(budget.period, timezone.now().date())
        use = BudgetUse.objects.create(id=uuid7(), budget=budget, start=start, used_tokens=85)
        with self.assertLogs("usage", "WARNING"):
            report_budgets()
            report_budgets()
            BudgetUse.objects.filter(pk=use.pk).update(used_tokens=100)
            report_budgets()
        of = {"id": str(budget.pk), "user_id": str(self.alice.pk)}
        expected = [{**of, "percent": 80}, {**of, "percent": 100}]
        self.assertEqual([each.data for each in WebhookDelivery.objects.order_by("id")], expected)

    def test_an_import_is_told_when_it_is_over(self) -> None:
        make_endpoint()
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "history.jsonl"
            path.write_text(json.dumps({"messages": [{"role": "user", "content": CANARY}]}) + "\n")
            call_command("import_history", str(path), user=self.alice.username, no_progress=True, stdout=StringIO())
        [found] = WebhookDelivery.objects.all()
        self.assertEqual(found.event_type, "import.finished")
        self.assertEqual(
            {**found.data, "id": ""},
            {
                "id": "",
                "user_id": str(self.alice.pk),
                "created": 1,
                "extended": 0,
                "messages": 1,
                "skipped": 0,
            },
        )

    def test_no_event_holds_content(self) -> None:
        make_endpoint(all_answers=True)
        for status in ("complete", "failed", "cancelled"):
            self.end(self.asked(title=CANARY), status, error_message=CANARY)
        start_conversation(owner_id=self.alice.pk, title=CANARY, metadata={"note": CANARY})
        self.assertEqual(len(told()), 7)
        for each in WebhookDelivery.objects.all():
            body = body_of(each)
            self.assertEqual(set(body), {"id", "object", "created_at", "type", "data"})
            self.assertEqual(set(body["data"]), {"id"})
            self.assertNotIn(CANARY, json.dumps(body))

    def test_where_nobody_listens_nothing_is_asked_and_written(self) -> None:
        make_endpoint(event_types=["import.finished"])
        subscriptions()
        with CaptureQueriesContext(connection) as statements:
            self.end(self.asked())
            start_conversation(owner_id=self.alice.pk)
        self.assertGreater(len(statements), 5)
        self.assertEqual([each["sql"] for each in statements if "webhooks_" in each["sql"]], [])

    def test_one_statement_writes_all_events_of_a_kind(self) -> None:
        for _ in range(4):
            make_endpoint(event_types=["response.completed"], all_answers=True)
        handle = self.asked()
        subscriptions()
        with CaptureQueriesContext(connection) as statements:
            self.end(handle)
        self.assertEqual(len([each for each in statements if "webhooks_" in each["sql"]]), 1)
        self.assertEqual(WebhookDelivery.objects.count(), 4)

    def test_an_endpoint_that_was_just_deleted_breaks_nothing(self) -> None:
        endpoint = make_endpoint()
        subscriptions()
        type(endpoint).objects.all().delete()
        self.end(self.asked())
        self.assertEqual(Run.objects.get().state, "complete")

    def test_what_names_an_account_is_deleted_with_it(self) -> None:
        make_endpoint()
        bob = somebody("bob")
        for owner in (self.alice, bob):
            budget = Budget.objects.create(name=owner.username, user=owner, max_tokens=1)
            start = first_day(budget.period, timezone.now().date())
            BudgetUse.objects.create(id=uuid7(), budget=budget, start=start, used_tokens=1)
        with self.assertLogs("usage", "WARNING"):
            report_budgets()
        self.assertEqual(WebhookDelivery.objects.count(), 2)
        delete_user(user=self.alice)
        self.assertEqual([each.data["user_id"] for each in WebhookDelivery.objects.all()], [str(bob.pk)])
