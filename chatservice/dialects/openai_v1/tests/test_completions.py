"""The OpenAI surface, used through the official client."""

from __future__ import annotations

import openai

from chatservice.testing import ServiceTestCase
from conversations.models import Conversation, Message


class ChatCompletionTest(ServiceTestCase):
    def client_of(self, api_user) -> openai.OpenAI:
        client = openai.OpenAI(base_url=f"{self.service.url}/v1", api_key=api_user.secret, max_retries=0)
        self.addCleanup(client.close)
        return client

    def test_streams_an_answer_and_keeps_it(self):
        client = self.client_of(self.alice)
        with client.chat.completions.create(
            model="default", messages=[{"role": "user", "content": "Tell me a joke"}], stream=True
        ) as stream:
            text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        conversation = Conversation.objects.get(owner=self.alice.user)
        question, answer = Message.objects.of(conversation.pk).oldest_first()
        self.assertEqual(question.content, "Tell me a joke")
        self.assertEqual(answer.content, text)
        self.assertEqual(answer.status, Message.Status.COMPLETE)
        self.assertEqual(conversation.title, "Tell me a joke")
