"""What a response keeps of its request belongs to the account: it is exported, and goes with it."""

from __future__ import annotations

import json
import uuid

from accounts.personal_data import export_account
from accounts.services import delete_user
from chatservice.dialects.openai_v1.tests.responses_case import PATH, ResponsesTestCase
from completions.models import Run
from conversations.services import delete_message


class ResponsesPersonalDataTest(ResponsesTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.canary = f"CANARY{uuid.uuid4().hex}"
        tool = {"type": "function", "name": "look", "description": f"tool {self.canary}", "parameters": {}}
        about = {"about": f"metadata {self.canary}"}
        self.response = self.ask("Hi", tools=[tool], instructions=f"instructions {self.canary}", metadata=about)

    def test_the_export_has_what_was_sent_beside_the_messages(self) -> None:
        self.ask("Hi", by=self.bob, instructions="Bob's own")
        lines = list(export_account(self.alice.user))
        self.assertNotIn("Bob's own", "".join(lines))
        [run] = [each["row"] for each in map(json.loads, lines) if each["model"] == "completions.run"]
        self.assertEqual(run["echo"]["instructions"], f"instructions {self.canary}")
        self.assertEqual(run["echo"]["tools"][0]["description"], f"tool {self.canary}")
        self.assertEqual(run["echo"]["metadata"], {"about": f"metadata {self.canary}"})

    def test_it_goes_with_the_response(self) -> None:
        self.assertEqual(self.alice.http.delete(f"{PATH}/{self.response['id']}").status_code, 200)
        self.assert_gone()

    def test_it_goes_with_the_answer(self) -> None:
        answer = self.run_of(self.response).message
        assert answer is not None
        delete_message(message=answer)
        self.assert_gone()

    def test_it_goes_with_the_conversation(self) -> None:
        named = self.run_of(self.response).conversation_id
        assert named is not None
        self.assertEqual(self.alice.http.delete(f"/v1/conversations/conv_{named.hex}").status_code, 200)
        self.assert_gone()

    def test_it_goes_with_the_account(self) -> None:
        delete_user(user=self.alice.user)
        self.assert_gone()

    def assert_gone(self) -> None:
        self.assertFalse(Run.objects.filter(user=self.alice.user).exists())
