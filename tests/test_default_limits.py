"""The default limits refuse no normal use: of guests on this machine, of SDKs in parallel, of long messages."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import httpx2
from openai import AsyncOpenAI

from accounts.models import RateWindow, User
from accounts.services import issue_api_key
from chatservice.testing import Service, ServiceTestCase, needs_dialect, tried_on
from chatservice.testing.sockets import Socket
from conversations.models import Message

PARALLEL = 64
LONGEST = 262_144
BODY = 4_194_304
COSTLY = "{ conversations(first: 50) { edges { node { messages(first: 50) { edges { node { id } } } } } } }"


def setUpModule() -> None:
    needs_dialect("chat", "chat_v1", "graphql", "openai_v1", "resources", "websocket")


@tried_on("postgresql")
class DefaultLimitsTest(ServiceTestCase):
    limited: ClassVar[Service]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        RateWindow.objects.all().delete()
        cls.limited = Service(unlimited=False)
        cls.addClassCleanup(cls.limited.stop)
        cls.limited.start()

    def setUp(self) -> None:
        super().setUp()
        for http in (self.guest, self.alice.http):
            http.base_url = self.limited.url

    def test_sixty_four_parallel_calls_by_the_official_sdk_all_answer(self) -> None:
        async def ask_all() -> list[str | None]:
            async with AsyncOpenAI(
                base_url=f"{self.limited.url}/v1", api_key=self.alice.secret, max_retries=0, timeout=60
            ) as client:
                calls = [
                    client.chat.completions.create(
                        model="echo", messages=[{"role": "user", "content": f"Call {number}"}]
                    )
                    for number in range(PARALLEL)
                ]
                return [answer.choices[0].message.content for answer in await asyncio.gather(*calls)]

        answers = asyncio.run(ask_all())
        self.assertEqual(len(answers), PARALLEL)
        for number, answer in enumerate(answers):
            self.assertIn(f"Call {number}", answer or "")

    def test_guests_of_this_machine_are_not_counted(self) -> None:
        """Beyond what guests from elsewhere may: starts a minute, answers at once, creations an hour, streams."""
        body = {"model": "echo", "message": "Hi"}

        def call(number: int) -> int:
            if number % 2:
                return self.guest.post("/conversations/start", json=body).status_code
            return self.guest.get("/chat/conversation").status_code

        with ThreadPoolExecutor(16) as threads:
            told = Counter(threads.map(call, range(80)))
        self.assertEqual(told, {200: 80})
        self.assertFalse(RateWindow.objects.filter(key__contains="127.0.0.1").exists(), "a guest was counted")

    def test_an_account_that_guests_made_is_not_counted_on_this_machine(self) -> None:
        made = self.guest.post("/users", json={"username": f"made-{uuid.uuid4()}", "password": "correct horse 42"})
        self.assertEqual(made.status_code, 201, made.text)
        _, secret = issue_api_key(user=User.objects.get(pk=made.json()["id"]))
        headers = {"Authorization": f"Bearer {secret}"}
        body = {"model": "echo", "messages": [{"role": "user", "content": "Hi"}]}
        told = [self.guest.post("/v1/chat/completions", json=body, headers=headers).status_code for _ in range(8)]
        self.assertEqual(told, [200] * 8)

    def test_guests_from_elsewhere_keep_their_limits(self) -> None:
        service = Service(unlimited=False, env={"ANONYMOUS": "on", "TRUSTED_PROXIES": "1"})
        self.addCleanup(service.stop)
        service.start()
        told = []
        for _ in range(11):  # of two minutes at most
            response = httpx2.post(
                f"{service.url}/conversations/start",
                json={"model": "echo", "message": "Hi"},
                headers={"X-Forwarded-For": "203.0.113.9"},
                trust_env=False,
            )
            told.append(response)
        refused = next(response for response in told if response.status_code != 200)
        self.assertEqual(refused.status_code, 429)
        self.assertIn("(LIMIT_GUEST_RUN_STARTS_PER_MINUTE)", refused.text)
        self.assertIn("t most 5 ", refused.text)

    def test_the_longest_message_passes_every_way_in(self) -> None:
        texts = (letter + "ä" * (LONGEST - 1) for letter in "abcde")  # which no API takes for one another's
        talk = self.alice.http.post("/v1/chat/conversations", json={}).json()["data"]["id"]
        sent: dict[str, httpx2.Response] = {
            "chat_v1": self.alice.http.post(
                f"/v1/chat/conversations/{talk}/messages", json={"content": next(texts), "model": "fake/ok"}
            ),
            "openai_v1": self.alice.http.post(
                "/v1/chat/completions",
                json={"model": "fake/ok", "messages": [{"role": "user", "content": next(texts)}]},
            ),
            "resources": self.alice.http.post(
                "/conversations/start", json={"message": next(texts), "model": "fake/ok"}
            ),
            "graphql": self.graph(next(texts)),
        }
        for dialect, response in sent.items():
            self.assertLess(response.status_code, 300, f"{dialect}: {response.text[:300]}")
            self.assertNotIn('"errors"', response.text[:200], dialect)
        with Socket(self.limited.websocket_url, additional_headers=self.alice.headers) as socket:
            self.assertEqual(socket.ask(next(texts), model="fake/ok")[-1]["type"], "ai_complete")
        stored = Message.objects.filter(conversation__owner=self.alice.user, role="user")
        self.assertEqual({len(content) for content in stored.values_list("content", flat=True)}, {LONGEST})
        self.assertEqual(stored.count(), 5)

    def test_a_longer_message_is_refused_with_limit_and_setting(self) -> None:
        text = "a" * (LONGEST + 1)
        talk = self.alice.http.post("/v1/chat/conversations", json={}).json()["data"]["id"]
        for response in (
            self.alice.http.post(f"/v1/chat/conversations/{talk}/messages", json={"content": text}),
            self.alice.http.post("/conversations/start", json={"message": text}),
            self.graph(text),
        ):
            self.assertIn(f"{LONGEST} characters (LIMIT_MESSAGE_CHARS)", response.text)

    def test_a_larger_body_is_refused_with_limit_and_setting(self) -> None:
        body = b'{"model": "echo", "messages": [{"role": "user", "content": "' + b"a" * BODY + b'"}]}'
        for path in ("/v1/chat/completions", "/conversations/start", "/graphql", "/chat/completions"):
            response = self.alice.http.post(path, content=body, headers={"Content-Type": "application/json"})
            if response.status_code != 404:
                self.assertEqual(response.status_code, 413, path)
                self.assertIn(f"{BODY} bytes (LIMIT_BODY_BYTES)", response.text)

    def test_what_is_too_deep_too_wide_or_too_long_is_refused_with_limit_and_setting(self) -> None:
        deep, wide = "[" * 33 + "]" * 33, json.dumps(dict.fromkeys(map(str, range(1_001))))
        title = json.dumps("t" * 201)
        for path, body, named in (
            ("/v1/chat/conversations", f'{{"title": "x", "more": {deep}}}', "32 levels (LIMIT_JSON_DEPTH)"),
            ("/conversations", f'{{"title": "x", "more": {wide}}}', "1000 keys (LIMIT_JSON_KEYS)"),
            ("/graphql", f'{{"query": "{{ me {{ id }} }}", "variables": {wide}}}', "1000 keys (LIMIT_JSON_KEYS)"),
            ("/v1/chat/conversations", f'{{"title": {title}}}', "200 characters (LIMIT_TITLE_CHARS)"),
            ("/conversations", f'{{"title": {title}}}', "200 characters (LIMIT_TITLE_CHARS)"),
            ("/graphql", json.dumps({"query": f"{{ me {{ {'id ' * 1_000} }} }}"}), "(GRAPHQL_TOKENS)"),
            ("/graphql", json.dumps({"query": f"{{ {aliases(16)} }}"}), "15 aliases (GRAPHQL_ALIASES)"),
            ("/graphql", json.dumps({"query": nested(9)}), "8 levels (GRAPHQL_DEPTH)"),
            ("/graphql", json.dumps({"query": COSTLY}), "2000 objects (GRAPHQL_COST)"),
        ):
            response = self.alice.http.post(path, content=body, headers={"Content-Type": "application/json"})
            self.assertEqual(response.status_code, 400, named)
            self.assertIn(named, response.text)

    def graph(self, text: str) -> httpx2.Response:
        query = 'mutation($content: String!) { sendMessage(content: $content, model: "fake/ok") { runId } }'
        body: dict[str, Any] = {"query": query, "variables": {"content": text}}
        return self.alice.http.post("/graphql", content=json.dumps(body), headers={"Content-Type": "application/json"})


def aliases(count: int) -> str:
    return " ".join(f"a{number}: me {{ id }}" for number in range(count))


def nested(levels: int) -> str:
    """A query with more than that many levels, since each list has three."""
    return (
        "{ conversations"
        + " { edges { node { messages" * levels
        + " { edges { node { id } } }"
        + " } } }" * levels
        + " }"
    )
