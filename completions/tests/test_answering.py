"""One question, one answer: also when it is answered while somebody looks whether it is."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from django.test import TestCase

from accounts.services import register_user
from completions import answering
from conversations.services import append_message, start_conversation


class WhatStandsTest(TestCase):
    def setUp(self) -> None:
        self.talk = start_conversation(owner_id=register_user(username="alice").pk)
        self.question = append_message(conversation=self.talk, role="user", content="a question")

    def test_a_question_without_an_answer_stands(self) -> None:
        standing = answering.what_stands(self.talk.pk, True, False)
        self.assertEqual(standing.question_id, self.question.pk)

    def test_a_question_that_is_answered_between_two_looks_is_not_answered_anew(self) -> None:
        look = answering._unanswered
        answers: list[Any] = []

        def answered_meanwhile(*asked: Any) -> Any:
            if not answers:
                self.talk.refresh_from_db()
                answers.append(append_message(conversation=self.talk, role="assistant", content="an answer"))
            return look(*asked)

        with patch.object(answering, "_unanswered", answered_meanwhile):
            standing = answering.what_stands(self.talk.pk, True, False)
        self.assertEqual(standing, answering.Standing())
