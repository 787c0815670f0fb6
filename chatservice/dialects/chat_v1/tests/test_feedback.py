"""Feedback by `PUT` and `DELETE /messages/:id/feedback`, and where messages show it."""

from __future__ import annotations

from accounts.scopes import Scope
from accounts.services import issue_api_key
from chatservice.testing import ServiceTestCase, tried_once
from completions.models import Run
from conversations.models import Message
from feedback.models import Feedback

BASE = "/v1/chat"


@tried_once
class FeedbackTest(ServiceTestCase):
    def setUp(self) -> None:
        super().setUp()
        talk = self.alice.http.post(f"{BASE}/conversations", json={}).json()["data"]["id"]
        self.messages = f"{BASE}/conversations/{talk}/messages"
        said = self.alice.http.post(self.messages, json={"content": "Hello"}).json()["data"]
        self.question, self.answer = (f"{BASE}/messages/{message['id']}" for message in said)
        self.feedback = f"{self.answer}/feedback"

    def test_a_thumb_and_a_word_are_in_the_message_until_they_are_taken_back(self):
        before = self.alice.http.get(self.answer).json()["data"]
        self.assertNotIn("feedback", before)
        response = self.alice.http.put(self.feedback, json={"rating": "down", "comment": " The date. "})
        self.assertEqual(response.status_code, 200, response.text)
        body = response.json()
        self.assertEqual(set(body), {"success", "data", "message"})
        self.assertEqual(set(body["data"]), {"rating", "comment", "created_at", "updated_at"})
        self.assertEqual((body["data"]["rating"], body["data"]["comment"]), ("down", " The date. "))
        shown = self.alice.http.get(self.answer).json()["data"]
        self.assertEqual(shown, {**before, "feedback": body["data"]})
        self.assertEqual(self.alice.http.get(self.messages).json()["data"][1]["feedback"], body["data"])
        self.assertNotIn("feedback", self.alice.http.get(self.question).json()["data"])
        replaced = self.alice.http.put(self.feedback, json={"rating": "up"}).json()["data"]
        self.assertEqual((replaced["rating"], replaced["comment"]), ("up", ""))
        for _ in range(2):
            response = self.alice.http.delete(self.feedback)
            self.assertEqual((response.status_code, response.json()["data"]), (200, None))
        self.assertEqual(self.alice.http.get(self.answer).json()["data"], before)

    def test_only_answers_that_have_ended_are_rated(self):
        response = self.alice.http.put(f"{self.question}/feedback", json={"rating": "up"})
        self.assertEqual((response.status_code, response.json()["error"]["code"]), (400, "not_an_answer"))
        message = {"content": "A long story", "model": "fake/held:20ms:70"}
        with self.alice.http.stream("POST", f"{self.messages}/stream", json=message) as stream:
            running = f"{BASE}/messages/{Run.objects.get(pk=stream.headers['x-run-id']).message_id}"
            response = self.alice.http.put(f"{running}/feedback", json={"rating": "up"})
            self.assertEqual((response.status_code, response.json()["error"]["code"]), (409, "conversation_busy"))
            self.assertEqual(self.alice.http.post(f"{running}/cancel").status_code, 200)
        self.assertEqual(self.alice.http.put(f"{running}/feedback", json={"rating": "down"}).status_code, 200)

    def test_nobody_else_sees_or_sets_it(self):
        self.alice.http.put(self.feedback, json={"rating": "down", "comment": "Mine"})
        for caller in (self.bob, self.carol):
            for response in (
                caller.http.put(self.feedback, json={"rating": "up"}),
                caller.http.delete(self.feedback),
                caller.http.get(self.answer),
            ):
                self.assertEqual(response.status_code, 404)
                self.assertNotIn("Mine", response.text)
        self.assertEqual(self.guest.put(self.feedback, json={"rating": "up"}).status_code, 401)
        answer = Message.objects.get(pk=self.answer.rpartition("/")[2])
        self.assertEqual([row.user_id for row in Feedback.objects.filter(message=answer)], [self.alice.user.pk])

    def test_a_key_that_may_not_write_rates_nothing(self):
        for scopes, status in (([Scope.READ, Scope.GENERATE], 403), ([Scope.WRITE], 200)):
            _, secret = issue_api_key(user=self.alice.user, scopes=scopes)
            headers = {"Authorization": f"Bearer {secret}"}
            response = self.alice.http.put(self.feedback, json={"rating": "up"}, headers=headers)
            self.assertEqual(response.status_code, status, response.text)
            self.assertEqual(self.alice.http.delete(self.feedback, headers=headers).status_code, status)
