"""Feedback in the graph: `setFeedback`, `deleteFeedback` and `Message.feedback`."""

from __future__ import annotations

from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.callers import Principal
from chatservice.dialects.graphql.loaders import _feedback
from chatservice.dialects.graphql.tests.client import GraphQLTestCase
from conversations.models import Message
from conversations.services import append_message, start_conversation

SET = """mutation($id: ID!, $rating: FeedbackRating!, $comment: String! = "") {
    setFeedback(messageId: $id, rating: $rating, comment: $comment) { rating comment createdAt updatedAt }
}"""
DELETE = "mutation($id: ID!) { deleteFeedback(messageId: $id) }"
SHOWN = "query($id: ID!) { message(id: $id) { feedback { rating comment } } }"


class FeedbackTest(GraphQLTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.talk = start_conversation(owner_id=self.alice.user.pk)
        self.question = append_message(conversation=self.talk, role="user", content="Well?")
        self.answer = append_message(conversation=self.talk, role="assistant", content="Well.")

    def shown(self, message: Message) -> object:
        return self.data(SHOWN, id=str(message.pk))["message"]["feedback"]

    def test_it_is_set_replaced_and_taken_back(self):
        pk = str(self.answer.pk)
        self.assertIsNone(self.shown(self.answer))
        given = self.data(SET, id=pk, rating="DOWN", comment="Too short.")["setFeedback"]
        self.assertEqual((given["rating"], given["comment"]), ("DOWN", "Too short."))
        self.assertEqual(self.shown(self.answer), {"rating": "DOWN", "comment": "Too short."})
        self.data(SET, id=pk, rating="UP")
        self.assertEqual(self.shown(self.answer), {"rating": "UP", "comment": ""})
        self.assertEqual(self.data(DELETE, id=pk), {"deleteFeedback": pk})
        self.assertIsNone(self.shown(self.answer))

    def test_a_question_is_not_rated_and_others_answers_do_not_exist(self):
        self.assertEqual(self.code(SET, id=str(self.question.pk), rating="UP"), "not_an_answer")
        for by in (self.bob, self.carol):
            self.assertEqual(self.code(SET, by=by, id=str(self.answer.pk), rating="UP"), "not_found")
            self.assertEqual(self.code(DELETE, by=by, id=str(self.answer.pk)), "not_found")

    def test_a_page_of_messages_needs_one_query_for_all_feedback(self):
        messages = [self.question, self.answer]
        messages += [append_message(conversation=self.talk, role="assistant", content="Again.") for _ in range(5)]
        with CaptureQueriesContext(connection) as queries:
            _feedback(Principal(self.alice.user.pk, self.alice.user.username), messages)
        self.assertEqual(len(queries), 1)
