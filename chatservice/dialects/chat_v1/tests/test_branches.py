"""Edited messages and regenerated answers create branches; some messages are stored without an answer."""

from __future__ import annotations

import json

from chatservice.testing import ServiceTestCase, sse_data
from conversations.models import Message

BASE = "/v1/chat"


class BranchesTest(ServiceTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.pk = self.alice.http.post(f"{BASE}/conversations", json={}).json()["data"]["id"]
        self.messages = f"{BASE}/conversations/{self.pk}/messages"
        self.question, self.answer = self.say(content="One")

    def say(self, **body):
        response = self.alice.http.post(self.messages, json=body)
        self.assertEqual(response.status_code, 201, response.text)
        return response.json()["data"]

    def shown(self) -> list[str]:
        return [message["id"] for message in self.alice.http.get(self.messages).json()["data"]]

    def test_a_question_put_differently_begins_a_branch_which_is_shown(self):
        second, after = self.say(content="Two")
        other, answer = self.say(content="Deux", parent_id=self.answer["id"])
        self.assertEqual(other["parent_id"], self.answer["id"])
        self.assertEqual(self.shown(), [self.question["id"], self.answer["id"], other["id"], answer["id"]])
        for hidden in (second, after):
            self.assertEqual(self.alice.http.get(f"{BASE}/messages/{hidden['id']}").status_code, 200)

    def test_no_parent_begins_the_conversation_anew(self):
        question, answer = self.say(content="From the start", parent_id=None)
        self.assertEqual(question["parent_id"], None)
        self.assertEqual(self.shown(), [question["id"], answer["id"]])

    def test_an_answer_is_given_again_beside_the_first(self):
        response = self.alice.http.post(f"{BASE}/messages/{self.answer['id']}/regenerate", json={"model": "fake/ok"})
        self.assertEqual(response.status_code, 201, response.text)
        again = response.json()["data"]
        self.assertEqual((again["role"], again["parent_id"]), ("assistant", self.question["id"]))
        self.assertEqual(self.shown(), [self.question["id"], again["id"]])
        self.assertEqual(self.upstream.posts[-1].body["messages"], [{"role": "user", "content": "One"}])
        self.assertEqual(Message.objects.filter(parent_id=self.question["id"]).count(), 2)

    def test_an_answer_is_given_again_as_a_stream(self):
        response = self.alice.http.post(f"{BASE}/messages/{self.answer['id']}/regenerate/stream")
        events = [json.loads(line) for line in sse_data(response.text)[:-1]]
        self.assertEqual({event["type"] for event in events[:-1]}, {"ai_chunk"})
        self.assertEqual(events[-1]["type"], "ai_complete")
        self.assertEqual(self.shown(), [self.question["id"], events[-1]["data"]["id"]])

    def test_only_an_answer_is_given_again(self):
        response = self.alice.http.post(f"{BASE}/messages/{self.question['id']}/regenerate")
        self.assertEqual((response.status_code, response.json()["error"]["code"]), (400, "not_an_answer"))

    def test_what_is_no_question_is_stored_and_sent_along_later(self):
        [stored] = self.say(content="Speak French.", role="system")
        self.assertEqual(
            (stored["role"], stored["status"], stored["parent_id"]), ("system", "complete", self.answer["id"])
        )
        [said] = self.say(content="D'accord.", role="assistant", model="me")
        self.assertEqual(said["model"], "me")
        self.say(content="Bon?", model="fake/ok")
        sent = [(message["role"], message["content"]) for message in self.upstream.posts[-1].body["messages"]]
        wanted = [("system", "Speak French."), ("assistant", "D'accord."), ("user", "Bon?")]
        self.assertEqual(sent[-3:], wanted)

    def test_parameters_reach_the_model_and_unknown_fields_do_not(self):
        known = {"temperature": 0.7, "max_tokens": 7, "stop": ["x"], "seed": 1}
        self.say(content="Hi", model="fake/ok", **known, user_id="root", tools=5)
        sent = self.upstream.posts[-1].body
        self.assertEqual({name: sent[name] for name in known}, known)
        self.assertTrue({"user_id", "tools", "content", "role"}.isdisjoint(sent))

    def test_a_deleted_message_leaves_what_follows(self):
        second, after = self.say(content="Two")
        self.assertEqual(self.alice.http.delete(f"{BASE}/messages/{self.answer['id']}").status_code, 200)
        self.assertEqual(self.shown(), [self.question["id"], second["id"], after["id"]])

    def test_messages_come_in_pages(self):
        self.say(content="Two")
        whole = self.shown()
        seen = []
        for page in (1, 2, 3):
            body = self.alice.http.get(self.messages, params={"page": page, "limit": 3}).json()
            self.assertEqual(body["meta"], {"total": 4, "page": page, "limit": 3, "totalPages": 2})
            seen += [message["id"] for message in body["data"]]
        self.assertEqual(seen, whole)
