"""Feedback of one user on an answer: it is replaced, taken back, and goes with the message and the account."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from functools import partial

from django.db import connection, transaction
from django.test import TestCase
from django.utils import timezone

from accounts.callers import Principal
from accounts.models import User
from accounts.services import delete_user, register_user
from chatservice.testing import KeptTablesTestCase, tried_on, wait_until
from conversations.models import Conversation, Message
from conversations.services import (
    Busy,
    append_message,
    delete_conversation,
    delete_message,
    reset_conversation,
    start_conversation,
)
from feedback.models import Feedback
from feedback.services import NotAnAnswer, delete_feedback, feedback_on, set_feedback


def principal_of(user: User) -> Principal:
    return Principal(user.pk, user.username)


def answered(owner: User) -> Message:
    """Return the answer to the only question of a new conversation."""
    talk = start_conversation(owner_id=owner.pk)
    append_message(conversation=talk, role="user", content="When did it end?")
    return append_message(conversation=talk, role="assistant", content="In 1648.", model="fake/ok")


class FeedbackTest(TestCase):
    def setUp(self):
        self.alice, self.bob = register_user(username="alice"), register_user(username="bob")
        self.answer = answered(self.alice)

    def rate(self, rating: str = "up", comment: str = "", by: User | None = None) -> Feedback:
        principal = principal_of(by or self.alice)
        return set_feedback(principal=principal, message_id=self.answer.pk, rating=rating, comment=comment)

    def test_it_is_one_row_which_is_replaced_as_a_whole(self):
        first = self.rate("down", "Wrong year.")
        again = self.rate("up")
        [row] = Feedback.objects.all()
        self.assertEqual((row.pk, row.rating, row.comment, row.model), (first.pk, "up", "", "fake/ok"))
        self.assertEqual(row.created_at, first.created_at)
        self.assertGreater(again.updated_at, first.created_at)

    def test_what_is_changed_comes_back_into_the_queue_and_what_is_repeated_does_not(self):
        self.rate("down", "Wrong year.")
        Feedback.objects.update(reviewed_at=timezone.now())
        before = Feedback.objects.get().updated_at
        self.rate("down", "Wrong year.")
        self.assertIsNotNone(Feedback.objects.get().reviewed_at)
        self.assertEqual(Feedback.objects.get().updated_at, before)
        self.rate("down", "Wrong century.")
        self.assertIsNone(Feedback.objects.get().reviewed_at)

    def test_others_answers_do_not_exist(self):
        self.rate()
        with self.assertRaises(Message.DoesNotExist):
            self.rate("down", by=self.bob)
        with self.assertRaises(Message.DoesNotExist):
            delete_feedback(principal=principal_of(self.bob), message_id=self.answer.pk)
        with self.assertRaises(Message.DoesNotExist):
            set_feedback(principal=principal_of(self.alice), message_id=uuid.uuid4(), rating="up")
        self.assertEqual(Feedback.objects.get().user_id, self.alice.pk)

    def test_only_an_answer_that_has_ended_is_rated(self):
        question = self.answer.parent
        assert question is not None
        with self.assertRaises(NotAnAnswer):
            set_feedback(principal=principal_of(self.alice), message_id=question.pk, rating="up")
        for status in Message.Status:
            Message.objects.filter(pk=self.answer.pk).update(status=status)
            if status == Message.Status.IN_PROGRESS:
                with self.assertRaises(Busy):
                    self.rate()
            else:
                self.rate()

    def test_taken_back_it_is_gone_and_again_that_is_no_error(self):
        self.rate()
        for _ in range(2):
            delete_feedback(principal=principal_of(self.alice), message_id=self.answer.pk)
        self.assertFalse(Feedback.objects.exists())

    def test_it_goes_with_its_message_its_conversation_and_its_user(self):
        for go in (
            lambda: delete_message(message=self.answer),
            lambda: reset_conversation(conversation=self.answer.conversation),
            lambda: delete_conversation(conversation=self.answer.conversation),
            lambda: delete_user(user=self.alice),
        ):
            self.answer = answered(self.alice)
            self.rate()
            go()
            self.assertFalse(Feedback.objects.exists())

    def test_it_is_shown_by_one_query_to_its_user_alone_and_by_none_without_answers(self):
        row = self.rate()
        question = self.answer.parent
        assert question is not None
        with self.assertNumQueries(1):
            self.assertEqual(feedback_on(principal_of(self.alice), [question, self.answer]), {self.answer.pk: row})
        with self.assertNumQueries(0):
            self.assertEqual(feedback_on(principal_of(self.alice), [question]), {})
        self.assertEqual(feedback_on(principal_of(self.bob), [self.answer]), {})


class AtOnceTest(KeptTablesTestCase):
    def setUp(self):
        self.alice = register_user(username=f"alice-{uuid.uuid4().hex[:8]}")
        self.addCleanup(delete_user, user=self.alice)

    def at_once(self, *works: Callable[[], object]) -> list[Exception]:
        """Run these at the same time; return what they raised."""
        start, raised = threading.Barrier(len(works)), []

        def run(work: Callable[[], object]) -> None:
            start.wait()
            try:
                work()
            except Exception as error:
                raised.append(error)
            finally:
                connection.close()

        threads = [threading.Thread(target=run, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        return raised

    def rating(self, answer: Message, rating: str) -> Callable[[], object]:
        return partial(set_feedback, principal=principal_of(self.alice), message_id=answer.pk, rating=rating)

    def test_of_many_at_once_one_row_is_left(self):
        for _ in range(6):
            answer = answered(self.alice)
            self.assertEqual(self.at_once(*(self.rating(answer, each) for each in ("up", "down", "up", "down"))), [])
            self.assertEqual(Feedback.objects.filter(message=answer).count(), 1)

    def deletions(self, answer: Message) -> list[Callable[[], object]]:
        talk = Conversation.objects.get(pk=answer.conversation_id)
        return [
            partial(delete_message, message=answer),
            partial(delete_conversation, conversation=talk),
            partial(reset_conversation, conversation=talk),
        ]

    def test_an_answer_that_is_deleted_meanwhile_is_not_found_and_its_deletion_never_fails(self):
        for number in range(6):
            answer = answered(self.alice)
            for error in self.at_once(self.deletions(answer)[number % 3], self.rating(answer, "up")):
                self.assertIsInstance(error, (Message.DoesNotExist, Conversation.DoesNotExist), repr(error))
            self.assertFalse(Message.objects.filter(pk=answer.pk).exists())
            self.assertFalse(Feedback.objects.filter(user=self.alice).exists())

    @tried_on("postgresql")
    def test_a_deletion_waits_for_feedback_that_is_not_yet_committed(self):
        waits = "SELECT 1 FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
        for number in range(3):
            answer = answered(self.alice)
            deletion = threading.Thread(target=self.at_once, args=(self.deletions(answer)[number],))
            with transaction.atomic(), connection.cursor() as cursor:
                self.rating(answer, "up")()
                deletion.start()
                wait_until(lambda: cursor.execute(waits).fetchone(), what="a deletion that waits")
            deletion.join(30)
            self.assertFalse(Message.objects.filter(pk=answer.pk).exists())
            self.assertFalse(Feedback.objects.filter(user=self.alice).exists())
