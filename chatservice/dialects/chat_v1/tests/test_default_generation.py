"""One's own default of instructions and parameters: each new conversation gets a copy, and no request of OpenAI's."""

from __future__ import annotations

import uuid
from typing import Any

from accounts.models import User
from accounts.personal_data import export_account
from chatservice.testing import ApiUser, needs_dialect
from chatservice.testing.sockets import SocketTestCase
from conversations.models import Conversation

BASE = "/v1/chat"
ME = f"{BASE}/me"
OK = "fake/ok"
MINE = {"instructions": "Answer in verse.", "temperature": 0.5}
OTHER = {"instructions": "Answer in prose."}
VERSE = {"role": "system", "content": "Answer in verse."}


class DefaultGenerationTest(SocketTestCase):
    def choose(self, generation: Any, who: ApiUser | None = None) -> Any:
        return (who or self.alice).http.patch(ME, json={"default_generation": generation})

    def shown(self) -> Any:
        asked = self.alice.http.post("/graphql", json={"query": "{ me { defaultGeneration } }"})
        of_page = asked.json()["data"]["me"]["defaultGeneration"]
        self.assertEqual(self.alice.http.get(ME).json()["data"]["default_generation"], of_page)
        return of_page

    def newest(self) -> Conversation:
        newest = Conversation.objects.filter(owner=self.alice.user).order_by("-created_at", "-pk").first()
        assert newest is not None
        return newest

    def sent(self) -> dict[str, Any]:
        return self.upstream.posts[-1].body

    def graphql(self, query: str, **variables: Any) -> Any:
        response = self.alice.http.post("/graphql", json={"query": query, "variables": variables}).json()
        self.assertNotIn("errors", response)
        return response["data"]

    def test_it_is_ones_own_and_in_the_export(self) -> None:
        needs_dialect("graphql")
        self.assertIsNone(self.shown())
        self.assertEqual(self.choose(MINE).json()["data"]["default_generation"], MINE)
        self.assertEqual(self.shown(), MINE)
        self.assertIn("Answer in verse.", "".join(export_account(self.alice.user)))
        self.assertIsNone(self.bob.http.get(ME).json()["data"]["default_generation"])
        self.bob.http.post(f"{BASE}/conversations/stream", json={"model": OK, "content": "Hello"})
        self.assertEqual(self.sent()["messages"], [{"role": "user", "content": "Hello"}])
        self.assertEqual(self.alice.http.patch(ME, json={"preferred_model": None}).status_code, 200)
        self.assertEqual(self.shown(), MINE)  # what is not sent stays
        self.assertEqual(
            self.choose({"top_p": 0.25, "instructions": " "}).json()["data"]["default_generation"], {"top_p": 0.25}
        )
        self.assertIsNone(self.choose(None).json()["data"]["default_generation"])
        self.assertIsNone(User.objects.get(pk=self.alice.user.pk).default_generation)

    def test_what_a_conversation_could_not_keep_is_refused(self) -> None:
        self.choose(MINE)
        refusable: list[Any] = ["x", [], {"n": 2}, {"temperature": 3}, {"instructions": "x" * 16_001}]
        for wrong in refusable:
            refused = self.choose(wrong)
            self.assertEqual(refused.status_code, 400, wrong)
            self.assertEqual(refused.json()["error"]["code"], "validation_error")
        self.assertEqual(self.alice.http.patch(ME, json={}).status_code, 400)
        self.assertEqual(self.alice.http.get(ME).json()["data"]["default_generation"], MINE)
        refused = self.alice.http.patch(ME, json={"default_generation": None, "preferred_model": "gone"})
        self.assertEqual(refused.status_code, 400)
        self.assertEqual(self.alice.http.get(ME).json()["data"]["default_generation"], MINE)

    def test_a_conversation_gets_a_copy_which_is_its_own_from_then_on(self) -> None:
        self.choose(MINE)
        made = self.alice.http.post(f"{BASE}/conversations", json={}).json()["data"]["id"]
        self.choose(OTHER)
        talk = f"{BASE}/conversations/{made}"
        self.assertEqual(self.alice.http.get(talk).json()["data"]["generation"], MINE)
        self.alice.http.post(f"{talk}/messages", json={"model": OK, "content": "Hello"})
        self.assertEqual((self.sent()["messages"][0], self.sent()["temperature"]), (VERSE, 0.5))
        self.alice.http.patch(talk, json={"generation": None})
        self.alice.http.post(f"{talk}/messages", json={"model": OK, "content": "And now?"})
        self.assertEqual(self.sent()["messages"][0]["role"], "user")

    def test_what_a_request_says_replaces_it_as_does_null(self) -> None:
        self.choose(MINE)
        for path in (f"{BASE}/conversations", f"{BASE}/conversations/stream"):
            for given, kept in (({}, MINE), ({"generation": OTHER}, OTHER), ({"generation": None}, None)):
                self.alice.http.post(
                    path, json={"model": OK, "content": "Hello", **given} if "stream" in path else given
                )
                self.assertEqual(self.newest().generation, kept, (path, given))
        self.assertEqual(self.sent()["messages"][0]["role"], "user")

    def test_the_same_request_is_the_same_run_after_a_change(self) -> None:
        needs_dialect("graphql")
        self.choose(MINE)
        body = {"model": OK, "content": "Hello", "client_message_id": uuid.uuid4().hex}
        query = (
            'mutation($key: String) { sendMessage(content: "Hi", model: "fake/ok", idempotencyKey: $key) { runId } }'
        )
        key = uuid.uuid4().hex
        runs = []
        for chosen in (MINE, OTHER):
            self.choose(chosen)
            first = self.alice.http.post(f"{BASE}/conversations/stream", json=body)
            runs.append((first.headers["x-run-id"], self.graphql(query, key=key)["sendMessage"]["runId"]))
        self.assertEqual(runs[0], runs[1])

    def test_every_api_of_this_service_begins_with_it(self) -> None:
        for dialect in ("graphql", "resources", "chat", "websocket"):
            needs_dialect(dialect)
        self.choose(MINE)
        ask = 'mutation { sendMessage(content: "Hi", model: "fake/ok") { runId } }'
        none = 'mutation { sendMessage(content: "Hi", model: "fake/ok", conversationGeneration: null) { runId } }'

        def socket() -> None:
            with self.socket(self.alice) as line:
                line.ask("Hi", model=OK)

        begins = {
            "graphql": lambda: self.graphql(ask),
            "graphql, empty": lambda: self.graphql("mutation { startConversation { id } }"),
            "resources": lambda: self.alice.http.post(
                "/conversations/start", json={"user_id": "1", "message": "Hi", "model": OK}
            ),
            "resources, empty": lambda: self.alice.http.post("/conversations", json={"user_id": "1", "title": "Mine"}),
            "chat": lambda: self.alice.http.get("/chat/conversation"),
            "websocket": socket,
        }
        for name, begin in begins.items():
            before = Conversation.objects.filter(owner=self.alice.user).count()
            begin()
            self.assertEqual(Conversation.objects.filter(owner=self.alice.user).count(), before + 1, name)
            self.assertEqual(self.newest().generation, MINE, name)
        self.graphql(none)
        self.assertIsNone(self.newest().generation)

    def test_openais_apis_add_nothing(self) -> None:
        needs_dialect("openai_v1")
        self.choose(MINE)
        said = [{"role": "user", "content": f"Hello {uuid.uuid4().hex}"}]
        for path, body in (
            ("/v1/chat/completions", {"messages": said}),
            ("/v1/responses", {"input": said[0]["content"]}),
        ):
            response = self.alice.http.post(path, json={"model": OK, **body})
            self.assertEqual(response.status_code, 200, response.text)
            self.assertEqual((self.sent()["messages"], "temperature" in self.sent()), (said, False), path)
            self.assertIsNone(self.newest().generation)
        self.assertEqual(self.alice.http.post("/v1/conversations", json={}).status_code, 200)
        self.assertIsNone(self.newest().generation)
