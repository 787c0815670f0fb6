"""Lists of stored answers walk an index, whatever is asked; what a deletion takes along and what it leaves."""

from __future__ import annotations

import uuid
from typing import Any
from unittest import mock

from django.db import connection
from django.test import TestCase
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from chatservice.testing import KeptTablesTestCase
from completions.models import Run, RunMetadata
from completions.run_metadata import metadata_rows
from completions.run_requests import RunHandle
from completions.run_results import RunResult
from completions.stored_answers import MAX_COUNTED, delete_stored, list_stored
from completions.tests.asking import accept_one, assistant_says, end_run, principal_of, question, somebody, user_says
from completions.types import Wire
from conversations import answer_deletion
from conversations.models import Conversation, Message
from conversations.services import Busy, append_message
from foundation.ids import uuid7


def many(owner: User, number: int, **fields: Any) -> list[Run]:
    """Store many answers at once: so many that a plan without the index costs more."""
    talk = Conversation.objects.create(owner=owner)
    answers = [
        Message(conversation=talk, position=position, role="assistant", model="echo", content="Yes")
        for position in range(1, number + 1)
    ]
    Message.objects.bulk_create(answers, batch_size=500)
    given = {"model": "echo", "state": "complete", "lease_until": 0.0, "finished_at": timezone.now(), **fields}
    runs = [Run(id=uuid7(), user=owner, message=answer, conversation=talk, **given) for answer in answers]
    Run.objects.bulk_create(runs, batch_size=500)
    rows = [row for run in runs for row in metadata_rows(run.pk, owner.pk, run.parameters)]
    RunMetadata.objects.bulk_create([RunMetadata(run_id=row.pop("run"), **row) for row in rows], batch_size=500)
    return runs


def talk_of(run: Run) -> uuid.UUID:
    assert run.conversation_id is not None
    return run.conversation_id


class StoredCase(TestCase):
    def setUp(self) -> None:
        self.alice, self.bob = somebody("alice"), somebody("bob")

    def answered(self, *said: Wire | str, owner: User | None = None, text: str = "Yes", **fields: Any) -> Run:
        handle = accept_one(question(owner or self.alice, *said, threaded=True, exclusive=False, **fields))
        self.finish(handle, text)
        return Run.objects.select_related("message").get(pk=handle.run_id)

    def finish(self, handle: RunHandle, text: str, status: str = "complete") -> None:
        result = RunResult(
            run_id=handle.run_id,
            message_id=handle.message_id,
            conversation_id=handle.conversation_id,
            status=status,
            content=text,
            model="echo",
            digest_before=handle.digest_before,
        )
        self.assertIsNotNone(end_run(result))

    def left_of(self, run: Run) -> list[str]:
        messages = Message.objects.filter(conversation=run.conversation_id).order_by("position")
        return list(messages.values_list("content", flat=True))


class PlanTest(KeptTablesTestCase):
    """Outside of a transaction, because PostgreSQL reads an index alone only of tables that were vacuumed."""

    def test_every_list_walks_an_index(self) -> None:
        everything = {"metadata": {"app": "a", "kind": "b"}}
        alice, bob = somebody("alice"), somebody("bob")
        for owner in (alice, bob):
            self.addCleanup(Conversation.objects.filter(owner=owner).delete)
            many(owner, 2_000, parameters=everything)
            many(owner, 300, parameters={"metadata": {"app": "a", "kind": "c"}}, model="other")
            many(owner, 300, parameters={}, state="failed")
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("VACUUM ANALYZE completions_run, completions_runmetadata")
        after = Run.objects.filter(user=alice).order_by("id")[1_000].pk
        for index, asked in (
            ("run_stored", {}),
            ("run_stored", {"after": after}),
            ("run_stored_by_model", {"model": "echo"}),
            ("run_stored_by_model", {"model": "nothing"}),
            ("run_metadata_pair", {"metadata": {"app": "a"}}),
            ("run_metadata_pair", {"metadata": {"app": "a"}, "after": after}),
            ("run_metadata_pair", {"metadata": {"app": "a", "kind": "c"}}),
            ("run_metadata_pair|run_stored_by_model", {"metadata": {"app": "a"}, "model": "other"}),
        ):
            for newest_first in (False, True):
                with self.subTest(f"{asked}, {newest_first}"), CaptureQueriesContext(connection) as queries:
                    list_stored(principal_of(alice), limit=21, newest_first=newest_first, **asked)
                for query in queries.captured_queries:
                    self.assert_walks(query["sql"], index)

    def assert_walks(self, sql: str, index: str) -> None:
        """Fail unless a list of ids reads few rows, in the order of an index."""
        if "LIMIT" not in sql:
            return  # the rows of one page, by their ids
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute(f"EXPLAIN {sql}".replace("%", "%%"))
            else:
                cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
            plan = "\n".join(str(row[-1]) for row in cursor.fetchall())
        self.assertRegex(plan, f"(?i)using (covering )?index ({index})\\b|scan (backward )?using ({index})\\b")
        self.assertNotRegex(plan, "(?i)temp b-tree|sort|seq scan|scan completions_")


class ListTest(StoredCase):
    def test_the_rarest_filter_is_walked_and_all_of_them_hold(self) -> None:
        many(self.alice, MAX_COUNTED + 50, parameters={"metadata": {"app": "a", "kind": "b"}})
        [rare] = many(self.alice, 1, parameters={"metadata": {"app": "a", "kind": "c"}}, model="rare")
        many(self.alice, 3, parameters={"metadata": {"kind": "c"}}, model="rare")
        many(self.bob, 3, parameters={"metadata": {"app": "a", "kind": "c"}}, model="rare")
        me = principal_of(self.alice)
        for asked in (
            {"metadata": {"app": "a", "kind": "c"}},
            {"metadata": {"app": "a", "kind": "c"}, "model": "rare"},
            {"metadata": {"app": "a"}, "model": "rare"},
        ):
            with self.subTest(str(asked)):
                self.assertEqual([run.pk for run in list_stored(me, limit=10, **asked)], [rare.pk])

    def test_only_ones_own_stored_answers_that_ended_well_are_listed(self) -> None:
        mine = self.answered("Mine", parameters={"metadata": {"app": "a"}})
        self.answered("Not mine", owner=self.bob, parameters={"metadata": {"app": "a"}})
        self.answered("Not stored", store=False, parameters={"metadata": {"app": "a"}})
        for status in ("failed", "cancelled", "interrupted"):
            handle = accept_one(question(self.alice, status, threaded=True, parameters={"metadata": {"app": "a"}}))
            self.finish(handle, "half", status)
        accept_one(question(self.alice, "Running", threaded=True, parameters={"metadata": {"app": "a"}}))
        for asked in ({}, {"model": "echo"}, {"metadata": {"app": "a"}}):
            self.assertEqual([run.pk for run in list_stored(principal_of(self.alice), limit=10, **asked)], [mine.pk])
        self.assertFalse(RunMetadata.objects.filter(run__message=None).exists(), "what is not stored has no labels")

    def test_odd_metadata_is_kept_but_not_found_by(self) -> None:
        odd = {"app": 5, "deep": {"a": "b"}}
        run = self.answered("Odd", parameters={"metadata": odd})
        self.assertEqual(run.parameters["metadata"], odd)
        self.assertEqual(RunMetadata.objects.filter(run=run).count(), 0)


class DeletionTest(StoredCase):
    def test_examples_and_instructions_of_the_deleted_call_go_too(self) -> None:
        run = self.answered(
            {"role": "system", "content": "Be brief"}, user_says("example"), assistant_says("sample"), "Well?"
        )
        self.assertEqual(len(self.left_of(run)), 5)
        delete_stored(run=run)
        self.assertFalse(Conversation.objects.filter(pk=talk_of(run)).exists())

    def test_an_earlier_answer_and_all_before_it_stay(self) -> None:
        first = self.answered("One")
        second = self.answered("One", assistant_says("Yes"), {"role": "system", "content": "New rule"}, "Two")
        self.assertEqual(second.conversation_id, first.conversation_id)
        delete_stored(run=second)
        self.assertEqual(self.left_of(first), ["One", "Yes"])
        self.assertEqual(Conversation.objects.get(pk=talk_of(first)).head_id, first.message_id)

    def test_a_question_with_another_answer_stays_and_that_answer_is_shown(self) -> None:
        said = ("One", assistant_says("Yes"), "Two")
        self.answered("One")
        second, third = self.answered(*said, text="A"), self.answered(*said, text="B")
        delete_stored(run=third)
        self.assertEqual(self.left_of(second), ["One", "Yes", "Two", "A"])
        self.assertEqual(Conversation.objects.get(pk=talk_of(second)).head_id, second.message_id)

    def test_what_is_below_moves_up(self) -> None:
        first = self.answered("One")
        second = self.answered("One", assistant_says("Yes"), "Two", text="Last")
        delete_stored(run=first)
        self.assertEqual(self.left_of(second), ["One", "Two", "Last"])
        two = Message.objects.get(conversation=second.conversation_id, content="Two")
        assert two.parent is not None
        self.assertEqual(two.parent.content, "One")

    def test_a_running_answer_is_busy_and_nothing_changes(self) -> None:
        handle = accept_one(question(self.alice, "Running", threaded=True))
        run = Run.objects.select_related("message").get(pk=handle.run_id)
        with self.assertRaises(Busy):
            delete_stored(run=run)
        self.assertEqual(self.left_of(run), ["Running", ""])

    def test_a_message_that_was_added_by_hand_keeps_the_conversation(self) -> None:
        run = self.answered("One")
        talk = Conversation.objects.get(pk=talk_of(run))
        append_message(conversation=talk, role="user", content="A note")
        delete_stored(run=run)
        self.assertEqual(self.left_of(run), ["One", "A note"])

    def test_a_long_call_goes_in_small_batches(self) -> None:
        run = self.answered(*[user_says(f"{number}") for number in range(25)])
        with mock.patch.object(answer_deletion, "DELETE_SLICE", 10):
            delete_stored(run=run)
        self.assertFalse(Conversation.objects.filter(pk=talk_of(run)).exists())

    def test_deleting_twice_is_deleting_once(self) -> None:
        first = self.answered("One")
        second = self.answered("One", assistant_says("Yes"), "Two")
        delete_stored(run=second)
        delete_stored(run=second)
        self.assertEqual(self.left_of(first), ["One", "Yes"])
