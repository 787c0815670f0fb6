"""Answering the pending question: clients that ask or look at the same time all get the same answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

from django.test import TestCase

from accounts.services import register_user
from completions import pending
from completions.models import Run
from completions.readers import wait_for_end
from completions.run_requests import RunRequest
from completions.tests.asking import question
from completions.tests.committed import CommittedTestCase
from conversations.services import append_message, start_conversation
from foundation.database import in_database_thread


class DuplicateTest(CommittedTestCase):
    def test_a_duplicate_whose_twin_is_answered_while_it_looks_gets_that_answer(self) -> None:
        conversation = start_conversation(owner_id=self.alice.pk)
        append_message(conversation=conversation, role="user", content="Hi")
        ask = question(self.alice, conversation_id=conversation.pk, idempotency_key="key", fingerprint="same")

        async def test() -> tuple[pending.AnsweringRun | None, pending.AnsweringRun | None]:
            twins: list[pending.AnsweringRun | None] = []

            async def slowly(function: Callable[..., Any], *arguments: Any) -> Any:
                if function is pending.pending_question and not twins:
                    twins.append(None)
                    twins[0] = await self.answered(ask)
                return await in_database_thread(function, *arguments)

            with mock.patch.object(pending, "in_database_thread", slowly):
                late = await self.answered(ask)
            return late, twins[0]

        late, twin = self.in_loop(test)
        self.assertIsNotNone(late)
        self.assertEqual(late, twin)
        self.assertEqual(Run.objects.filter(conversation=conversation).count(), 1)

    async def answered(self, ask: RunRequest) -> pending.AnsweringRun | None:
        found = await pending.answer(ask, follow_any=False, again=True)
        if found is not None:
            await wait_for_end(found.run_id)
        return found


class PendingQuestionTest(TestCase):
    def setUp(self) -> None:
        self.talk = start_conversation(owner_id=register_user(username="alice").pk)
        self.question = append_message(conversation=self.talk, role="user", content="a question")

    def test_a_question_without_an_answer_stands(self) -> None:
        found = pending.pending_question(self.talk.pk, True, False)
        self.assertEqual(found.question_id, self.question.pk)

    def test_a_question_that_is_answered_between_two_looks_is_not_answered_anew(self) -> None:
        look = pending._unanswered
        answers: list[Any] = []

        def answered_meanwhile(*asked: Any) -> Any:
            if not answers:
                self.talk.refresh_from_db()
                answers.append(append_message(conversation=self.talk, role="assistant", content="an answer"))
            return look(*asked)

        with mock.patch.object(pending, "_unanswered", answered_meanwhile):
            found = pending.pending_question(self.talk.pk, True, False)
        self.assertEqual(found, pending.PendingQuestion())
