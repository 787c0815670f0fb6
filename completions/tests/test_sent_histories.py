"""What the model's server gets of a stored conversation, asked for through the running service."""

from __future__ import annotations

from typing import Any

from chatservice.testing import ServiceTestCase, needs_dialect
from completions.tests.asking import assistant_says, user_says
from completions.tests.test_histories import call, calling, check, result
from completions.types import Wire
from conversations.models import Conversation, Message, MessagePart
from conversations.services import append_message

needs_dialect("chat_v1", "openai_v1")
CITED = {"annotations": [{"type": "url_citation", "url_citation": {"url": "https://example.org", "title": "E"}}]}


class SentHistoryTest(ServiceTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.conversation = Conversation.objects.create(owner=self.alice.user)

    def keep(self, wire: Wire, **fields: Any) -> Message:
        """Store a message as a run or an import would."""
        extras = {name: value for name, value in wire.items() if name not in ("role", "content")} or None
        text = wire.get("content") or ""
        row = append_message(conversation=self.conversation, role=wire["role"], content=text or "-")
        parts = row.set_content(text, extras)
        for name, value in fields.items():
            setattr(row, name, value)
        row.save()
        MessagePart.objects.bulk_create(parts)
        return row

    def asked(self, text: str) -> list[Any]:
        """Ask in the conversation, and return the messages that the model's server got."""
        path = f"/v1/chat/conversations/{self.conversation.pk}/messages"
        response = self.alice.http.post(path, json={"content": text, "model": "fake/ok"})
        self.assertEqual(response.status_code, 201, response.text)
        [post] = self.upstream.asked(text)
        messages: list[Any] = post.body["messages"]
        check(messages)
        return messages

    def test_what_a_strict_server_refuses_is_not_sent(self) -> None:
        model = {"model": "faulty"}
        self.keep(user_says("Weather?"))
        self.keep(calling(call("c1"), call("c2", '{"ci'), reasoning_content="hm"), **model, status="cancelled")
        self.keep(user_says("And?"))
        self.keep(
            calling(call("c3"), call("c4"), reasoning_details=[{"type": "reasoning.text", "text": "hm"}]), **model
        )
        self.keep(result("c4", "rain"))
        self.keep(assistant_says("It rains.", **CITED), source_id="imported-1")
        self.keep(assistant_says("A document"), source_id="imported-2")
        self.keep({"role": "assistant", "content": None, "refusal": "I cannot."}, **model)
        self.keep(assistant_says("", reasoning="only this"), **model)
        self.keep(assistant_says(" \n"), **model)
        self.keep(result("c9"))
        sent = self.asked("strict-4711")
        self.assertEqual(
            [(wire["role"], wire["content"]) for wire in sent],
            [
                ("user", "Weather?"),
                ("user", "And?"),
                ("assistant", None),
                ("tool", "There is no result: this call was not carried out."),
                ("tool", "rain"),
                ("assistant", "It rains."),
                ("assistant", "A document"),
                ("assistant", "I cannot."),
                ("user", "strict-4711"),
            ],
        )

    def test_a_clients_own_answer_keeps_its_fields(self) -> None:
        own = assistant_says("Hi", reasoning_content="hm")
        body = {"model": "fake/ok", "messages": [user_says("own-4711"), own, user_says("And?")]}
        response = self.alice.http.post("/v1/chat/completions", json=body)
        self.assertEqual(response.status_code, 200, response.text)
        self.conversation = Conversation.objects.get(pk=response.headers["x-conversation-id"])
        path = f"/v1/chat/conversations/{self.conversation.pk}/messages"
        self.alice.http.post(path, json={"content": "own-4712", "model": "fake/ok"})
        [post] = self.upstream.asked("own-4712")
        self.assertEqual(post.body["messages"][:3], body["messages"])

    def test_what_a_stateless_call_sends_goes_out_as_it_is(self) -> None:
        odd = [user_says("odd-4711"), calling(call("c1", '{"ci')), assistant_says(""), result("c7"), user_says("b")]
        self.alice.http.post("/v1/chat/completions", json={"model": "fake/ok", "messages": odd})
        [post] = self.upstream.asked("odd-4711")
        self.assertEqual(post.body["messages"], odd)
