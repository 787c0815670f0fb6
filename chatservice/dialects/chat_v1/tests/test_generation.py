"""Instructions and parameters of a conversation: the model gets them with every question, from every API."""

from __future__ import annotations

import json
import uuid
from typing import Any

from chatservice.testing import ServiceTestCase, needs_dialect, wait_until
from completions.models import Run
from conversations.models import Conversation

BASE = "/v1/chat"
OK = "fake/ok"
VERSE = {"role": "system", "content": "Answer in verse."}
KEPT = {"instructions": "Answer in verse.", "temperature": 0.5, "max_tokens": 40, "reasoning_effort": "low"}


class GenerationTest(ServiceTestCase):
    answer: Any

    def create(self, **body: Any) -> str:
        made = self.alice.http.post(f"{BASE}/conversations", json=body)
        self.assertEqual(made.status_code, 201, made.text)
        return f"{BASE}/conversations/{made.json()['data']['id']}"

    def ask(self, path: str, **body: Any) -> dict[str, Any]:
        """Ask, and return what the model's server was sent."""
        response = self.alice.http.post(path, json={"model": OK, **body})
        self.assertLess(response.status_code, 300, response.text)
        if response.headers["content-type"] == "application/json":
            self.answer = response.json()["data"]
        return self.upstream.posts[-1].body

    def told(self, sent: dict[str, Any]) -> dict[str, Any]:
        names = ("temperature", "top_p", "max_tokens", "max_completion_tokens", "reasoning_effort")
        return {name: sent[name] for name in names if name in sent}

    def test_every_answer_has_them_until_they_change(self):
        talk = self.create(generation=KEPT)
        self.assertEqual(self.alice.http.get(talk).json()["data"]["generation"], KEPT)
        sent = self.ask(f"{talk}/messages", content="Hello")
        self.assertEqual(sent["messages"], [VERSE, {"role": "user", "content": "Hello"}])
        self.assertEqual(self.told(sent), {"temperature": 0.5, "max_tokens": 40, "reasoning_effort": "low"})
        answer = self.answer[1]["id"]
        sent = self.ask(f"{talk}/messages", content="And now?", temperature=1.5, max_completion_tokens=7)
        self.assertEqual([each["role"] for each in sent["messages"]], ["system", "user", "assistant", "user"])
        self.assertEqual(self.told(sent), {"temperature": 1.5, "max_completion_tokens": 7, "reasoning_effort": "low"})
        sent = self.ask(f"{BASE}/messages/{answer}/regenerate")
        self.assertEqual((sent["messages"][0], self.told(sent)["temperature"]), (VERSE, 0.5))
        changed = self.alice.http.patch(
            talk, json={"generation": {"top_p": 0.25, "instructions": " ", "max_tokens": None}}
        )
        self.assertEqual(changed.json()["data"]["generation"], {"top_p": 0.25})
        sent = self.ask(f"{talk}/messages", content="Freely")
        self.assertEqual((sent["messages"][0]["role"], self.told(sent)), ("user", {"top_p": 0.25}))
        self.assertIsNone(self.alice.http.patch(talk, json={"generation": None}).json()["data"]["generation"])
        self.assertEqual(self.told(self.ask(f"{talk}/messages", content="Even more")), {})
        listed = self.alice.http.get(f"{talk}/messages").json()["data"]
        self.assertEqual({each["role"] for each in listed}, {"user", "assistant"})  # none is a message

    def test_a_conversation_that_begins_with_its_first_message_keeps_them(self):
        body = {"content": "Hello", "generation": KEPT, "client_message_id": uuid.uuid4().hex}
        for _ in range(2):  # the same request is the same run
            sent = self.ask(f"{BASE}/conversations/stream", **body)
        self.assertEqual((sent["messages"][0], self.told(sent)["temperature"]), (VERSE, 0.5))
        self.assertEqual(Conversation.objects.get(owner=self.alice.user).generation, KEPT)
        changed = self.alice.http.post(f"{BASE}/conversations/stream", json={"model": OK, **body, "generation": None})
        self.assertEqual(changed.status_code, 422)

    def test_an_answer_that_was_cut_off_is_continued_by_them(self):
        talk = self.create(generation=KEPT)
        body = {"content": "Hello", "model": "fake/truncated"}
        cut_off = self.alice.http.post(f"{talk}/messages/stream", json=body).headers["x-message-id"]
        sent = self.ask(f"{BASE}/messages/{cut_off}/continue")
        self.assertEqual([each["role"] for each in sent["messages"]], ["system", "user", "assistant"])
        self.assertEqual((sent["messages"][0], self.told(sent)["max_tokens"]), (VERSE, 40))

    def test_bob_neither_reads_nor_changes_nor_uses_them(self):
        talk = self.create(generation=KEPT)
        for change in ({"generation": None}, {"generation": {"instructions": "Obey Bob."}}):
            self.assertEqual(self.bob.http.patch(talk, json=change).status_code, 404)
        refused = [self.bob.http.get(talk), self.bob.http.post(f"{talk}/messages", json={"content": "Hi"})]
        self.assertEqual([each.status_code for each in refused], [404, 404])
        self.assertNotIn("verse", "".join(each.text for each in refused))
        self.assertEqual(self.alice.http.get(talk).json()["data"]["generation"], KEPT)

    def test_a_question_that_waits_has_them(self):
        talk, marker = self.create(generation=KEPT), uuid.uuid4().hex
        body = {"content": marker, "model": "fake/held"}
        with self.alice.http.stream("POST", f"{talk}/messages/stream", json=body) as response:
            next(line for line in response.iter_lines() if "ai_chunk" in line)
        body = {"content": "two", "model": OK, "when_busy": "queue"}
        waiting = self.alice.http.post(f"{talk}/messages", json=body)
        self.assertEqual(waiting.status_code, 202, waiting.text)
        self.upstream.release(marker)
        wait_until(lambda: not Run.objects.filter(user=self.alice.user).to_stop(), what="both answers")
        sent = self.upstream.posts[-1].body
        self.assertEqual((sent["messages"][0], sent["messages"][-1]["content"]), (VERSE, "two"))
        self.assertEqual(self.told(sent), {"temperature": 0.5, "max_tokens": 40, "reasoning_effort": "low"})

    def test_the_other_apis_ask_by_them_as_well(self):
        talk = self.create(generation={"instructions": "Answer in verse."})
        pk = talk.rpartition("/")[2]
        needs_dialect("resources")
        needs_dialect("graphql")
        before = len(self.upstream.posts)
        self.alice.http.post(f"/conversations/{pk}/message", json={"message": "Hi", "model": OK})
        query = 'mutation($id: ID!) { sendMessage(conversationId: $id, content: "Hi", model: "fake/ok") { runId } }'
        self.alice.http.post("/graphql", json={"query": query, "variables": {"id": pk}})
        self.assertEqual([post.body["messages"][0] for post in self.upstream.posts[before:]], [VERSE, VERSE])
        needs_dialect("openai_v1")  # where a response says everything itself
        body = {"model": OK, "input": "Hi", "conversation": f"conv_{uuid.UUID(pk).hex}"}
        response = self.alice.http.post("/v1/responses", json=body)
        self.assertEqual(response.status_code, 200, response.text)
        self.assertNotIn(VERSE, self.upstream.posts[-1].body["messages"])

    def test_graphql_says_keeps_and_changes_them(self):
        needs_dialect("graphql")

        def data(query: str, **variables: Any) -> Any:
            response = self.alice.http.post("/graphql", json={"query": query, "variables": variables}).json()
            return response["errors"][0]["extensions"]["code"] if "errors" in response else response["data"]

        begin = (
            'mutation($kept: ConversationGeneration) { sendMessage(content: "Hi", model: "fake/ok", '
            "conversationGeneration: $kept) { conversation { id generation } } }"
        )
        kept = {"instructions": "Answer in verse.", "topP": 0.5}
        made = data(begin, kept=kept)["sendMessage"]["conversation"]
        self.assertEqual(made["generation"], {"instructions": "Answer in verse.", "top_p": 0.5})
        self.assertEqual(self.upstream.posts[-1].body["messages"][0], VERSE)
        change = (
            "mutation($id: ID!, $kept: ConversationGeneration) "
            "{ setGeneration(id: $id, generation: $kept) { generation } }"
        )
        for given, stored in (({"reasoningEffort": "high"}, {"reasoning_effort": "high"}), (None, None)):
            self.assertEqual(data(change, id=made["id"], kept=given)["setGeneration"], {"generation": stored})
        self.assertEqual(data(change, id=made["id"], kept={"temperature": 3.0}), "validation_error")
        self.assertEqual(data(begin, kept={"reasoningEffort": "very"}), "validation_error")
        self.assertEqual(json.dumps(data(change, id=str(uuid.uuid4()), kept=kept)), '"not_found"')
