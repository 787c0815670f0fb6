"""Whether calls that ask not to be stored are: never by default, always if the operator says so."""

from __future__ import annotations

from typing import Any

import openai

from chatservice.testing import ServiceTestCase, running_service, tried_once, wait_until
from completions.models import Chunk, Run, RunMetadata
from completions.tests.upstream_wire import TEXT
from conversations.models import Conversation, Message

ASKED: list[Any] = [{"role": "user", "content": "A secret zebra"}]
UNSTORED: dict[str, Any] = {"store": False, "metadata": {"topic": "zebra"}}


class HistoryCase(ServiceTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.openai = openai.OpenAI(base_url=f"{self.url}/v1", api_key=self.alice.secret, max_retries=0)
        self.addCleanup(self.openai.close)

    @property
    def url(self) -> str:
        return self.service.url

    def ask(self) -> list[str]:
        """Ask streamed and not, as chat completions; return the ids."""
        whole = self.openai.chat.completions.create(model="fake/ok", messages=ASKED, **UNSTORED)
        stream = self.openai.chat.completions.create(model="fake/ok", messages=ASKED, stream=True, **UNSTORED)
        return [whole.id, *{chunk.id for chunk in stream}]


@tried_once
class AsAskedTest(HistoryCase):
    def test_nothing_of_what_was_not_to_be_stored_is_stored(self) -> None:
        self.ask()
        response = self.openai.responses.create(model="fake/ok", input="A secret zebra", **UNSTORED)
        self.assertEqual(response.to_dict()["store"], False)
        runs = Run.objects.filter(user=self.alice.user)
        self.assertEqual(runs.count(), 3)
        for run in runs:
            self.assertEqual((run.message_id, run.conversation_id, run.parameters, run.echo), (None, None, {}, None))
            self.assertFalse(Chunk.objects.filter(run=run).exclude(text="").exists())
        self.assertFalse(RunMetadata.objects.filter(user_id=self.alice.user.pk).exists())
        self.assertFalse(Conversation.objects.filter(owner=self.alice.user).exists())
        self.assertEqual(self.openai.chat.completions.list().data, [])


@tried_once
class AlwaysTest(HistoryCase):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.own = cls.enterClassContext(running_service(HISTORY="always"))

    @property
    def url(self) -> str:
        return self.own.url

    def test_what_was_not_to_be_stored_is_history_like_everything_else(self) -> None:
        ids = self.ask()
        self.assertEqual([each.id for each in self.openai.chat.completions.list(metadata={"topic": "zebra"})], ids)
        response = self.openai.responses.create(model="fake/ok", input="A secret zebra", **UNSTORED)
        self.assertEqual(
            (response.to_dict()["store"], self.openai.responses.retrieve(response.id).id), (True, response.id)
        )
        self.assertEqual(Message.objects.filter(conversation__owner=self.alice.user, content=TEXT).count(), 3)
        found = wait_until(self.found, what="the index")
        self.assertEqual(len(found), 3)

    def found(self) -> list[Any]:
        headers = {"Authorization": f"Bearer {self.alice.secret}"}
        query = {"query": "zebra", "mode": "text", "role": "user"}
        data: list[Any] = self.guest.get(f"{self.url}/v1/conversations", params=query, headers=headers).json()["data"]
        return data if len(data) == 3 else []
