"""Who may create and who may access what: guests share what guests created, but users' content is private."""

from __future__ import annotations

import uuid
from typing import Any

import httpx2

from chatservice.dialects.chat.tests.chatting import start
from chatservice.testing import ServiceTestCase, running_service, tried_once
from conversations.models import Conversation

REQUESTS = (("GET", ""), ("DELETE", ""), ("POST", "/message"), ("GET", "/messages"), ("GET", "/stream"))


@tried_once
class AccessTest(ServiceTestCase):
    def test_a_foreign_conversation_is_the_same_as_none(self):
        path = start(self.alice.http)
        before = self.alice.http.get(f"{path}/messages").json()
        for http in (self.bob.http, self.carol.http, self.guest):
            for method, rest in REQUESTS:
                body = {"content": "mine?"} if method == "POST" else None
                sent: dict[str, Any] = {"json": body, "headers": {"X-Request-Id": "the-same"}}
                foreign = http.request(method, path + rest, **sent)
                unknown = http.request(method, f"/chat/conversation/{uuid.uuid4()}{rest}", **sent)
                malformed = http.request(method, f"/chat/conversation/12345{rest}", **sent)
                for response in (foreign, unknown, malformed):
                    self.assertEqual(response.status_code, 404, f"{method} {rest}")
                    self.assertEqual(response.content, unknown.content)
        self.assertEqual(self.alice.http.get(f"{path}/messages").json(), before)

    def test_a_key_does_not_reach_what_guests_made(self):
        self.assertEqual(self.alice.http.get(start(self.guest)).status_code, 404)

    def test_a_speculative_or_cross_site_get_creates_nothing(self):
        before = Conversation.objects.filter(owner=self.alice.user).count()
        for headers in (
            {"Sec-Purpose": "prefetch;prerender"},
            {"Purpose": "prefetch"},
            {"Sec-Fetch-Site": "cross-site"},
        ):
            refused = self.alice.http.get("/chat/conversation", headers=headers)
            self.assertEqual((refused.status_code, refused.headers["cache-control"]), (403, "no-store"))
        self.assertEqual(self.alice.http.head("/chat/conversation").status_code, 405)
        self.assertEqual(Conversation.objects.filter(owner=self.alice.user).count(), before)

    def test_a_head_of_the_stream_asks_nobody(self):
        path = start(self.alice.http)
        self.assertEqual(self.alice.http.head(f"{path}/stream").status_code, 405)
        self.assertEqual(len(self.alice.http.get(f"{path}/messages").json()), 1)

    def test_a_forwarded_caller_is_no_guest(self):
        for headers in ({"X-Forwarded-For": "203.0.113.7"}, {"Origin": "https://evil.example"}):
            response = self.guest.get("/chat/conversation", headers=headers)
            self.assertEqual(response.status_code, 401, headers)

    def test_an_address_without_a_key_creates_so_many_an_hour(self):
        with running_service(ANONYMOUS="on", LIMIT_GUEST_CREATIONS_PER_HOUR="2") as service:
            answers = [self.guest.get(f"{service.url}/chat/conversation") for _ in range(3)]
            self.assertEqual([answer.status_code for answer in answers], [200, 200, 429])
            self.assertTrue(1 <= int(answers[2].headers["retry-after"]) <= 3600)
            for _ in range(3):  # the holder of a key has separate limits
                answer = httpx2.get(f"{service.url}/chat/conversation", headers=self.alice.headers, trust_env=False)
                self.assertEqual(answer.status_code, 200)

    def test_a_wrong_key_is_refused_and_never_a_guest(self):
        response = self.guest.get("/chat/conversation", headers={"Authorization": "Bearer wrong"})
        self.assertEqual((response.status_code, response.json()["error"]["code"]), (401, "unauthorized"))

    def test_without_guests_the_refusal_names_the_setting(self):
        with running_service(ANONYMOUS="off") as service:
            response = self.guest.get(f"{service.url}/chat/conversation")
            self.assertEqual(response.status_code, 401)
            self.assertIn("ANONYMOUS", response.json()["error"]["message"])
            keyed = self.alice.http.get(f"{service.url}/chat/conversation")
            self.assertEqual(keyed.status_code, 200)

    def test_bad_input_is_told_by_field_in_this_dialects_shape(self):
        path = start(self.alice.http, "")
        for body in ({}, {"content": ""}, {"content": None}, {"content": True}, {"content": ["a"]}):
            response = self.alice.http.post(f"{path}/message", json=body)
            self.assertEqual(response.status_code, 400, body)
            self.assertIn("content", response.json()["error"]["details"])
        for raw, status in ((b"{", 400), (b"[]", 400), (b'{"content": "\\u0000"}', 400), (b"x" * 4_200_000, 413)):
            response = self.alice.http.post(f"{path}/message", content=raw)
            self.assertEqual(response.status_code, status, raw[:20])
            self.assertEqual(set(response.json()), {"error"})
        response = self.alice.http.post(f"{path}/message", content=b"a=b", headers={"Content-Type": "text/plain"})
        self.assertEqual(response.status_code, 415)
        self.assertEqual(self.alice.http.get(f"{path}/messages").json(), [])

    def test_unknown_paths_and_methods_answer_in_this_dialects_shape(self):
        self.assertEqual(set(self.alice.http.get("/chat/nothing").json()), {"error"})
        refused = self.alice.http.put("/chat/conversation", json={})
        self.assertEqual((refused.status_code, refused.json()["error"]["code"]), (405, "method_not_allowed"))
        self.assertEqual(set(refused.headers["allow"].split(", ")), {"GET", "OPTIONS"})

    def test_messages_can_be_paged(self):
        path = start(self.alice.http, "")
        for number in range(5):
            self.alice.http.post(f"{path}/message", json={"content": f"message {number}"})
        page = self.alice.http.get(f"{path}/messages", params={"limit": 2, "page": 2})
        self.assertEqual([message["content"] for message in page.json()], ["message 2", "message 3"])
        self.assertEqual(page.headers["x-total-count"], "5")
        for query in ({"limit": "0"}, {"limit": "101"}, {"page": "x"}, {"page": "²"}):
            self.assertEqual(self.alice.http.get(f"{path}/messages", params=query).status_code, 400, query)
