"""Limits of a group, a user or a key on every surface: the refusals in its shape, and the headers before them."""

from __future__ import annotations

import json
import uuid
from typing import Any

import httpx2
from django.contrib.auth.models import Group

from accounts.models import RateWindow, SubjectLimits
from chatservice.testing import ServiceTestCase, needs_dialect, tried_once, wait_for_minute, wait_until
from chatservice.testing.sockets import Socket
from completions.tests.streaming import URL, body_of

needs_dialect("chat_v1", "graphql", "openai_v1", "resources", "websocket")  # before importing from them

from chatservice.dialects.graphql.tests.client import ANSWER, GraphQLSocket  # noqa: E402

STREAM = "/v1/chat/conversations/stream"
FIND = "query($q: String!) { search(query: $q) { mode } }"


class SubjectCase(ServiceTestCase):
    def limit(self, **values: Any) -> str:
        """Give a new group, with alice as its only member, these limits; return what a refusal calls them."""
        group = Group.objects.create(name=f"interns-{uuid.uuid4().hex[:8]}")
        self.addCleanup(group.delete)
        row = SubjectLimits.objects.create(group=group, **values)
        self.addCleanup(row.delete)
        self.alice.user.groups.add(group)
        return f"limit of the group '{group.name}'"

    def refused(self, response: httpx2.Response, status: int, code: str) -> str:
        """Return the message of a refusal, in whatever shape."""
        self.assertEqual(response.status_code, status, response.text)
        told = response.json()
        error = told["errors"][0] if "errors" in told else told["error"]
        self.assertEqual(error.get("code") or error["extensions"]["code"], code)
        return error.get("message") or told["message"]


@tried_once
class StartsTest(SubjectCase):
    def test_each_surface_tells_what_is_left_and_refuses_in_its_shape(self) -> None:
        name = self.limit(starts_per_minute=5)
        wait_for_minute(20)
        openai = self.alice.http.post(URL, json=body_of("echo"))
        self.assertEqual(openai.headers["x-ratelimit-limit-requests"], "5")
        self.assertEqual(openai.headers["x-ratelimit-remaining-requests"], "4")
        self.assertNotIn("x-ratelimit-limit-tokens", openai.headers)
        responses = self.alice.http.post("/v1/responses", json={"model": "echo", "input": "Hi"})
        self.assertEqual(responses.headers["x-ratelimit-remaining-requests"], "3")
        others = [
            self.alice.http.post(STREAM, json={"content": "Hi", "model": "echo"}),
            self.alice.http.post("/conversations/start", json={"message": "Hi", "model": "echo"}),
        ]
        talk = others[1].json()["conversation_id"]
        others.append(self.alice.http.post(f"/conversations/{talk}/message", json={"message": "Hi", "model": "echo"}))
        for response, left in zip(others, (2, 1, 0), strict=True):
            self.assertEqual(response.status_code, 200, response.text)
            self.assertEqual(response.headers["ratelimit-policy"], '"requests";q=5;w=60')
            self.assertRegex(response.headers["ratelimit"], rf'\A"requests";r={left};t=[0-9]+\Z')
        problem = f"At most 5 answers can be started per minute ({name})."
        for path, body in (
            (URL, body_of("echo")),
            (URL, body_of("echo", stream=True)),
            ("/v1/responses", {"model": "echo", "input": "Hi"}),
            (STREAM, {"content": "Hi", "model": "echo"}),
            ("/conversations/start", {"message": "Hi", "model": "echo"}),
        ):
            response = self.alice.http.post(path, json=body)
            self.assertEqual(self.refused(response, 429, "rate_limit_exceeded"), problem)
            self.assertTrue(1 <= int(response.headers["retry-after"]) <= 60)
        with Socket(self.service.websocket_url, additional_headers=self.alice.headers) as socket:
            socket.say(type="send", content="Hi", model="echo")
            data = socket.read()["data"]
        self.assertEqual((data["code"], data["message"]), ("rate_limit_exceeded", problem))
        self.assertEqual(self.bob.http.post(URL, json=body_of("echo")).status_code, 200)

    def test_a_limit_that_comes_or_goes_holds_on_sockets_that_are_open(self) -> None:
        url = self.service.url.replace("http", "ws")
        chat = self.enterContext(Socket(self.service.websocket_url, additional_headers=self.alice.headers))
        graph = self.enterContext(GraphQLSocket(f"{url}/graphql", headers=self.alice.headers, init=True))
        responses = self.enterContext(Socket(f"{url}/v1/responses", additional_headers=self.alice.headers))

        def refusals() -> list[bool]:
            """Tell on which of the sockets a model is refused that no upstream has."""
            chat.say(type="send", content="Hi", model="fake/http-400")
            graph.subscribe("1", ANSWER, c="Hi", m="fake/http-400")
            responses.say(type="response.create", model="fake/http-400", input="Hi")
            told = (chat.until("error"), graph.until_over("1"), responses.until("error", "response.failed"))
            return ["model_not_allowed" in json.dumps(each) for each in told]

        self.assertEqual(refusals(), [False] * 3)
        self.limit(models_allowed=["echo"])
        wait_until(lambda: refusals() == [True] * 3, what="the limit on open sockets")
        SubjectLimits.objects.filter(group__user=self.alice.user).delete()
        wait_until(lambda: refusals() == [False] * 3, what="the end of the limit on open sockets")


@tried_once
class TokensTest(SubjectCase):
    def ask(self, **fields: Any) -> httpx2.Response:
        return self.alice.http.post(URL, json=body_of("echo", **fields))

    def counted(self) -> int:
        row = RateWindow.objects.filter(key=f"tokens:{self.alice.user.pk.hex}").first()
        return row.count if row else 0

    def test_what_an_answer_took_is_counted_when_it_ends_and_stops_the_next(self) -> None:
        name = self.limit(tokens_per_minute=60)
        wait_for_minute(20)
        first = self.ask()
        headers = {each: first.headers[f"x-ratelimit-{each}-tokens"] for each in ("limit", "remaining")}
        self.assertEqual(headers, {"limit": "60", "remaining": "60"})
        usage = first.json()["usage"]
        self.assertEqual(self.counted(), usage["prompt_tokens"] + usage["completion_tokens"])
        self.assertLess(self.counted(), 60)  # so another one may start, and passes the limit
        other = self.alice.http.post("/conversations/start", json={"message": "Hi", "model": "echo"})
        self.assertEqual(other.headers["ratelimit-policy"], '"tokens";q=60;w=60')
        self.assertIn(f'"tokens";r={60 - usage["total_tokens"]};t=', other.headers["ratelimit"])
        self.assertGreaterEqual(self.counted(), 60)
        problem = f"At most 60 tokens can be used per minute ({name})."
        self.assertEqual(self.refused(self.ask(), 429, "rate_limit_exceeded"), problem)

    def test_an_answer_without_usage_is_estimated_and_one_that_was_stopped_as_well(self) -> None:
        self.limit(tokens_per_minute=10**6)
        wait_for_minute(20)
        said = "x" * 4_000
        with self.alice.http.stream("POST", URL, json=body_of("fake/slow:20ms:1000", said, stream=True)) as response:
            next(response.iter_text())
        wait_until(self.counted, what="the tokens of an answer whose reader left")
        self.assertTrue(1_000 <= self.counted() <= 1_500, self.counted())

    def test_what_a_server_refused_to_do_counts_nothing(self) -> None:
        self.limit(tokens_per_minute=10**6)
        for model in ("fake/http-429:60", "fake/http-400"):
            self.assertGreaterEqual(self.alice.http.post(URL, json=body_of(model)).status_code, 400)
        self.assertEqual(self.counted(), 0)


@tried_once
class ModelsTest(SubjectCase):
    def test_only_allowed_models_are_listed_and_asked_and_a_key_narrows_them(self) -> None:
        name = self.limit(models_allowed=["echo", "fake/ok"])
        row = SubjectLimits.objects.create(key=self.alice.key, models_allowed=["e*"])
        self.addCleanup(row.delete)
        listed = [model["id"] for model in self.alice.http.get("/v1/models").json()["data"]]
        self.assertEqual(listed, ["echo"])
        for path, body in (
            (URL, body_of("fake/two")),
            ("/v1/responses", {"model": "fake/two", "input": "Hi"}),
            ("/v1/embeddings", {"model": "fake/two", "input": "Hi"}),
            (STREAM, {"content": "Hi", "model": "fake/two"}),
            ("/conversations/start", {"message": "Hi", "model": "fake/two"}),
        ):
            message = self.refused(self.alice.http.post(path, json=body), 403, "model_not_allowed")
            self.assertEqual(message, f"The model 'fake/two' is not allowed for this account ({name}).")
        told = self.alice.http.post(URL, json=body_of("fake/ok"))
        self.assertIn("(limit of this key)", self.refused(told, 403, "model_not_allowed"))
        self.assertEqual(self.alice.http.post(URL, json=body_of("echo")).status_code, 200)


@tried_once
class SearchTest(SubjectCase):
    def searches(self) -> list[httpx2.Response]:
        return [
            self.alice.http.get("/v1/chat/search", params={"q": "word"}),
            self.alice.http.get("/search", params={"q": "word"}),
            self.alice.http.get("/v1/conversations", params={"query": "word"}),
            self.alice.http.post("/graphql", json={"query": FIND, "variables": {"q": "word"}}),
        ]

    def test_whoever_may_not_search_finds_nothing_anywhere_and_still_reads(self) -> None:
        self.assertEqual([each.status_code for each in self.searches()], [200] * 4)
        name = self.limit(search=False)
        wait_until(lambda: self.searches()[0].status_code == 403, what="the end of a cached key")
        problem = f"This account may not search ({name})."
        for response in self.searches():
            status = 200 if response.request.url.path == "/graphql" else 403
            self.assertEqual(self.refused(response, status, "search_not_allowed"), problem)
        self.assertEqual(self.alice.http.get("/v1/chat/conversations").status_code, 200)
        body = {"content": "Hi", "model": "echo", "recall": True}
        self.assertIn("[DONE]", self.alice.http.post(STREAM, json=body).text)
        self.assertEqual(self.bob.http.get("/search", params={"q": "word"}).status_code, 200)
