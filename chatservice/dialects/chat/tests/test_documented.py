"""Every request in the browser chat document works as printed: without a credential, and with a key."""

from __future__ import annotations

import re

import httpx2

from chatservice.testing import ServiceTestCase, sse_data, tried_once

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")


@tried_once
class DocumentedTest(ServiceTestCase):
    def replay(self, http: httpx2.Client, slash: str = "") -> None:
        created = http.get(f"/chat/conversation{slash}")
        self.assertEqual(created.status_code, 200)
        self.assertEqual(set(created.json()), {"id", "createdAt"})
        self.assertRegex(created.json()["createdAt"], TIME)
        self.assertEqual(created.headers["cache-control"], "no-store")
        pk = created.json()["id"]
        path = f"/chat/conversation/{pk}"

        again = http.get(f"{path}{slash}")
        self.assertEqual((again.status_code, again.json()), (200, created.json()))

        sent = http.post(
            f"{path}/message{slash}",
            headers={"Content-Type": "application/json"},
            content='{"content": "Hello, how are you?"}',
        )
        self.assertEqual(sent.status_code, 201)
        question = sent.json()
        self.assertEqual(set(question), {"id", "conversationId", "role", "content", "createdAt"})
        self.assertEqual((question["conversationId"], question["role"]), (pk, "user"))
        self.assertEqual(question["content"], "Hello, how are you?")
        self.assertRegex(question["createdAt"], TIME)

        stream = http.get(f"{path}/stream{slash}")
        self.assertEqual(stream.status_code, 200)
        self.assertTrue(stream.headers["content-type"].startswith("text/event-stream"))
        text = "".join(sse_data(stream.text))
        self.assertTrue(text)

        listed = http.get(f"{path}/messages{slash}").json()
        self.assertEqual(listed[0], question)
        self.assertEqual(len(listed), 2)
        answer = listed[1]
        self.assertEqual(set(answer), set(question))
        self.assertEqual((answer["role"], answer["content"], answer["conversationId"]), ("assistant", text, pk))

        reset = http.delete(f"{path}{slash}")
        self.assertEqual(reset.status_code, 200)
        self.assertEqual(reset.json(), {"message": "Conversation reset successfully"})
        self.assertEqual(http.get(f"{path}/messages{slash}").json(), [])
        self.assertEqual(http.get(path).json(), created.json())

    def test_every_request_works_as_printed_without_a_credential(self):
        self.replay(self.guest)

    def test_every_request_works_as_printed_with_a_key(self):
        self.replay(self.alice.http)

    def test_every_request_works_with_a_trailing_slash(self):
        self.replay(self.guest, slash="/")
