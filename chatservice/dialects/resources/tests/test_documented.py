"""Every request in the two documents works as printed: without a credential, and with a key."""

from __future__ import annotations

import json
import uuid

import httpx2

from accounts.models import User
from chatservice.testing import ServiceTestCase, running_service, sse_data, tried_once
from conversations.models import Conversation, Message

JSON = {"Content-Type": "application/json"}


@tried_once
class AssistantDocumentTest(ServiceTestCase):
    def replay(self, http: httpx2.Client, slash: str = "") -> str:
        started = http.post(
            f"/conversations/start{slash}", headers=JSON, content='{\n  "user_id": "123",\n  "message": "Hello!"\n}'
        )
        self.assertEqual(started.status_code, 200, started.text)
        self.assertEqual(set(started.json()), {"conversation_id", "reply"})
        pk = started.json()["conversation_id"]
        self.assertTrue(started.json()["reply"])

        sent = http.post(f"/conversations/{pk}/message{slash}", headers=JSON, content='{"message": "Tell me a joke"}')
        self.assertEqual((sent.status_code, set(sent.json())), (200, {"reply"}))

        history = http.get(f"/conversations/{pk}{slash}")
        self.assertEqual(history.status_code, 200)
        self.assertEqual(history.json()["conversation_id"], pk)
        self.assertEqual(
            history.json()["messages"],
            [
                {"role": "user", "content": "Hello!"},
                {"role": "assistant", "content": started.json()["reply"]},
                {"role": "user", "content": "Tell me a joke"},
                {"role": "assistant", "content": sent.json()["reply"]},
            ],
        )
        self.assertEqual(history.json()["end_user"], "123")
        return pk

    def test_every_request_works_as_printed_without_a_credential(self):
        pk = self.replay(self.guest)
        self.assertTrue(Conversation.objects.get(pk=pk).owner.guest_made)

    def test_every_request_works_as_printed_with_a_key(self):
        pk = self.replay(self.alice.http)
        self.assertEqual(Conversation.objects.get(pk=pk).owner, self.alice.user)

    def test_every_request_works_with_a_trailing_slash(self):
        self.replay(self.guest, slash="/")


@tried_once
class ResourcesDocumentTest(ServiceTestCase):
    def replay(self, http: httpx2.Client, slash: str = "") -> dict:
        name, password = f"alice.{uuid.uuid4().hex[:8]}", "un mot de passe"
        made = http.post(f"/users{slash}", headers=JSON, content=json.dumps({"username": name, "password": password}))
        self.assertEqual(made.status_code, 201, made.text)
        self.assertEqual(set(made.json()), {"id", "username", "password"})
        self.assertEqual((made.json()["username"], made.json()["password"]), (name, "********"))
        stored = User.objects.get(pk=made.json()["id"])
        self.assertTrue(stored.password.startswith("argon2") and stored.check_password(password))
        return made.json()

    def replay_conversation(self, http: httpx2.Client, user_id: str, slash: str = "") -> None:
        created = http.post(
            f"/conversations{slash}", headers=JSON, content=json.dumps({"title": "Blagues", "user_id": user_id})
        )
        self.assertEqual(created.status_code, 201, created.text)
        pk = created.json()["id"]
        self.assertEqual(created.json(), {"id": pk, "title": "Blagues", "user_id": user_id})

        listed = http.get(f"/users/{user_id}/conversations{slash}")
        self.assertEqual(listed.status_code, 200)
        self.assertEqual(listed.json(), [{"conversation_id": pk, "title": "Blagues", "user_id": user_id}])

        self.assertEqual(http.get(f"/conversations/{pk}/messages{slash}").json(), [])
        http.post(f"/conversations/{pk}/messages", json={"role": "system", "content": "Be brief."})
        http.post(f"/conversations/{pk}/messages", json={"role": "user", "content": "Tell me a joke"})

        single = http.post(
            f"/conversations/{pk}/messages:complete{slash}", headers=JSON, content='{\n  "stream": false\n}'
        )
        self.assertEqual(single.status_code, 200, single.text)
        [choice] = single.json()["choices"]
        self.assertEqual(set(single.json()), {"choices"})
        self.assertEqual((choice["finish_reason"], choice["index"]), ("stop", 0))
        self.assertEqual(set(choice["message"]), {"role", "content"})
        self.assertEqual(choice["message"]["role"], "assistant")

        http.post(f"/conversations/{pk}/messages", json={"role": "user", "content": "Another one"})
        stream = http.post(
            f"/conversations/{pk}/messages:complete{slash}", headers=JSON, content='{\n  "stream": true\n}'
        )
        self.assertEqual(stream.status_code, 200, stream.text)
        self.assertTrue(stream.headers["content-type"].startswith("text/event-stream"))
        *events, last = sse_data(stream.text)
        self.assertEqual(last, "[DONE]")
        choices = [choice for event in events for choice in json.loads(event)["choices"]]
        self.assertEqual({choice["index"] for choice in choices}, {0})
        self.assertEqual({choice["delta"]["role"] for choice in choices}, {"assistant"})
        self.assertEqual([choice["finish_reason"] for choice in choices][-1], "stop")
        text = "".join(choice["delta"]["content"] for choice in choices)

        messages = http.get(f"/conversations/{pk}/messages{slash}").json()
        self.assertEqual(
            messages,
            [
                {"id": 1, "role": "system", "content": "Be brief."},
                {"id": 2, "role": "user", "content": "Tell me a joke"},
                {"id": 3, "role": "assistant", "content": choice_text(single)},
                {"id": 4, "role": "user", "content": "Another one"},
                {"id": 5, "role": "assistant", "content": text},
            ],
        )
        self.assertEqual(Message.objects.of(pk).answers().count(), 2)

    def test_every_request_works_as_printed_without_a_credential(self):
        for slash in ("", "/"):
            user = self.replay(self.guest, slash)
            for name in (user["username"], user["id"]):
                found = self.guest.get(f"/users/{name}{slash}")
                self.assertEqual(found.status_code, 200)
                self.assertEqual((found.json()["id"], found.json()["username"]), (user["id"], user["username"]))
            self.replay_conversation(self.guest, user["id"], slash)

    def test_every_request_works_as_printed_with_a_key(self):
        with (
            running_service(REGISTRATION="keys") as service,
            httpx2.Client(base_url=service.url, headers=self.alice.headers, trust_env=False) as http,
        ):
            self.replay(http)
        found = self.alice.http.get(f"/users/{self.alice.user.username}")
        self.assertEqual((found.status_code, found.json()["id"]), (200, str(self.alice.user.pk)))
        self.replay_conversation(self.alice.http, str(self.alice.user.pk))


def choice_text(response: httpx2.Response) -> str:
    return response.json()["choices"][0]["message"]["content"]
