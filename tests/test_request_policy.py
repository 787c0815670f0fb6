"""Every surface refuses what the operator forbids, in its own shape, before any upstream is asked."""

from __future__ import annotations

import json
import uuid
from typing import Any

import httpx2
from django.contrib.auth.models import Group

from chatservice.testing import (
    ApiUser,
    Service,
    ServiceTestCase,
    needs_dialect,
    running_service,
    tried_once,
    wait_until,
)
from chatservice.testing.sockets import Socket
from completions.models import Run
from completions.services import request_cancel
from completions.tests.streaming import URL, body_of
from conversations.models import Conversation

needs_dialect("graphql")  # before importing anything from the dialect

from chatservice.dialects.graphql.tests.client import ANSWER, SEND, GraphQLSocket  # noqa: E402

GROUP = f"research-{uuid.uuid4().hex[:8]}"
ALLOWED = {"*": ["echo", "hashing"], "staff": ["echo", "fake/*"], "guest": ["fake/ok"], f"group:{GROUP}": ["fake/ok"]}
CONTINUE = "mutation($id: ID!) { continueAnswer(messageId: $id) { runId } }"


def setUpModule() -> None:
    needs_dialect("chat", "chat_v1", "graphql", "openai_v1", "resources", "websocket")


class PolicyCase(ServiceTestCase):
    environment: dict[str, str]
    restricted: Service

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.restricted = cls.enterClassContext(running_service(**cls.environment))

    def post(self, path: str, body: dict[str, Any], *, by: ApiUser | None = None) -> httpx2.Response:
        return (by or self.alice).http.post(self.restricted.url + path, json=body)

    def stopped_answer(self, model: str) -> tuple[uuid.UUID, uuid.UUID]:
        """Start an answer by `model` on the unrestricted service, and stop it; return conversation and message."""
        body = {"content": "A long story", "model": model}
        with self.alice.http.stream("POST", "/v1/chat/conversations/stream", json=body) as response:
            run = Run.objects.get(pk=response.headers["x-run-id"])
            wait_until(lambda: run.chunks.exists(), what="the first words")
            request_cancel(run.pk)
            response.read()
        assert run.conversation_id is not None and run.message_id is not None
        return run.conversation_id, run.message_id

    def frames(self, *frames: dict[str, Any], by: ApiUser | None = None) -> list[dict[str, Any]]:
        headers = (by or self.alice).headers
        with Socket(self.restricted.websocket_url, additional_headers=headers) as socket:
            answers = []
            for frame in frames:
                socket.say(**frame)
                answers.append(socket.read())
        return answers

    def assert_refused(self, response: httpx2.Response, code: str, setting: str, name: str) -> None:
        self.assertEqual(response.status_code, 403, response.text)
        told = response.json()
        error = told["errors"][0] if "errors" in told else told["error"]
        message = error.get("message") or told["message"]
        self.assertEqual(error.get("code") or error["extensions"]["code"], code)
        self.assertIn(setting, message)
        self.assertIn(f"'{name}'", message)


@tried_once
class ModelsTest(PolicyCase):
    environment = {"MODELS_ALLOWED": json.dumps(ALLOWED), "ANONYMOUS": "on", "DEFAULT_MODEL": "echo"}

    def refused(self, response: httpx2.Response, model: str = "fake/ok") -> None:
        self.assert_refused(response, "model_not_allowed", "MODELS_ALLOWED", model)

    def test_by_rest_whatever_the_dialect(self):
        conversation_id, message_id = self.stopped_answer("fake/slow:20ms:1000")
        asked, runs = len(self.upstream.posts), Run.objects.count()
        v1, model = "/v1/chat", {"model": "fake/ok"}
        for stream in (False, True):
            self.refused(self.post(URL, body_of("fake/ok", stream=stream)))
            complete = {"stream": stream, **model}
            self.alice.http.post(f"/conversations/{conversation_id}/messages", json={"role": "user", "content": "Hi"})
            self.refused(self.post(f"/conversations/{conversation_id}/messages:complete", complete))
        said = {"content": "Hi", **model}
        for path, body in (
            (f"{v1}/conversations/stream", said),
            (f"{v1}/conversations/{conversation_id}/messages", said),
            (f"{v1}/conversations/{conversation_id}/messages/stream", said),
            (f"{v1}/messages/{message_id}/regenerate", model),
            (f"{v1}/messages/{message_id}/regenerate/stream", model),
            (f"{v1}/messages/{message_id}/continue", model),
            (f"{v1}/messages/{message_id}/continue/stream", model),
            ("/conversations/start", {"message": "Hi", **model}),
            (f"/conversations/{conversation_id}/message", {"message": "Hi", **model}),
        ):
            self.refused(self.post(path, body))
        # The model is the one stored with the answer.
        self.refused(self.post(f"{v1}/messages/{message_id}/continue", {}), "fake/slow:20ms:1000")
        url = f"{self.restricted.url}/chat/conversation/{conversation_id}/stream?model=fake/ok"
        self.refused(self.alice.http.get(url))
        self.assertEqual((len(self.upstream.posts), Run.objects.count()), (asked, runs))

    def test_by_graphql(self):
        _, message_id = self.stopped_answer("fake/slow:20ms:1000")
        query = SEND.replace("$after: ID, ", "").replace("parentId: $after, ", "")
        runs = Run.objects.count()
        for body in (
            {"query": query, "variables": {"content": "Hi", "model": "fake/ok"}},
            {"query": CONTINUE, "variables": {"id": str(message_id)}},
        ):
            [error] = self.post("/graphql", body).json()["errors"]
            self.assertEqual((error["extensions"]["code"], error["extensions"]["status"]), ("model_not_allowed", 403))
            self.assertIn("MODELS_ALLOWED", error["message"])
        url = self.restricted.url.replace("http", "ws") + "/graphql"
        with GraphQLSocket(url, headers=self.alice.headers, init=True) as socket:
            socket.subscribe("1", ANSWER, c="Hi", m="fake/ok")
            told = json.dumps(socket.until_over("1"))
        self.assertIn("model_not_allowed", told)
        self.assertEqual(Run.objects.count(), runs)

    def test_by_websocket(self):
        _, message_id = self.stopped_answer("fake/slow:20ms:1000")
        for answer in self.frames(
            {"type": "send", "content": "Hi", "model": "fake/ok"},
            {"type": "continue", "message_id": str(message_id)},
        ):
            self.assertEqual((answer["type"], answer["data"]["code"]), ("error", "model_not_allowed"))
            self.assertIn("MODELS_ALLOWED", answer["data"]["message"])

    def test_embeddings(self):
        self.refused(self.post("/v1/embeddings", {"model": "fake/ok", "input": "Hi"}))
        self.assertEqual(self.post("/v1/embeddings", {"model": "default", "input": "Hi"}).status_code, 200)
        self.refused(self.post("/v1/embeddings", {"model": "default", "input": "Hi"}, by=self.carol), "hashing")

    def test_the_closest_entry_decides(self):
        bob = self.bob
        group, _ = Group.objects.get_or_create(name=GROUP)
        bob.user.groups.add(group)
        for api_user, model, status in (
            (self.alice, "echo", 200),
            (self.alice, "default", 200),
            (self.alice, "Echo", 403),
            (self.carol, "fake/ok", 200),
            (bob, "fake/ok", 200),
            (bob, "fake/two", 403),
            (bob, "echo", 403),
        ):
            self.assertEqual(self.post(URL, body_of(model), by=api_user).status_code, status, (api_user.user, model))
        with httpx2.Client(base_url=self.restricted.url, trust_env=False, timeout=30) as guest:
            told = [
                guest.post("/conversations/start", json={"message": "Hi", "model": model}).status_code
                for model in ("fake/ok", "echo")
            ]
        self.assertEqual(told, [200, 403])

    def test_lists_have_what_may_be_asked(self):
        # On a busy machine an upstream may list its models too late, and the list then lacks them.
        wait_until(lambda: any(each.startswith("fake/") for each in self.listed(self.carol)), what="the whole list")
        for api_user, expected in ((self.alice, {"echo", "hashing"}), (self.carol, {"echo"})):
            ids = self.listed(api_user)
            self.assertEqual({each for each in ids if not each.startswith("fake/")}, expected)
            self.assertEqual(any(each.startswith("fake/") for each in ids), api_user is self.carol)
            [asked] = {"fake/ok"} & ids or {"fake/ok"}
            one = api_user.http.get(f"{self.restricted.url}/v1/models/{asked}")
            self.assertEqual(one.status_code == 200, asked in ids)
            graph = self.post("/graphql", {"query": "{ models }"}, by=api_user).json()["data"]["models"]
            self.assertEqual(set(graph), ids - {"hashing"})

    def listed(self, api_user: ApiUser) -> set[str]:
        return {model["id"] for model in api_user.http.get(f"{self.restricted.url}/v1/models").json()["data"]}

    def test_what_is_allowed_somewhere_else_is_not_there(self):
        """A refused question leaves nothing behind."""
        held = Conversation.objects.filter(owner=self.alice.user).count()
        self.post(URL, body_of("fake/ok"))
        self.assertEqual(Conversation.objects.filter(owner=self.alice.user).count(), held)


@tried_once
class ParametersTest(PolicyCase):
    environment = {"FORBIDDEN_PARAMETERS": "service_tier, logprobs=true,n=2,temperature=2"}

    def refused(self, response: httpx2.Response, name: str) -> None:
        self.assert_refused(response, "parameter_not_allowed", "FORBIDDEN_PARAMETERS", name)

    def test_by_name_and_by_value(self):
        forbidden: tuple[tuple[dict[str, Any], str], ...] = (
            ({"service_tier": "priority"}, "service_tier"),
            ({"service_tier": {}}, "service_tier"),
            ({"service_tier": False}, "service_tier"),
            ({"logprobs": True}, "logprobs"),
            ({"n": 2}, "n"),
            ({"temperature": 2.0}, "temperature"),
            ({"extra_body": {"service_tier": "flex"}}, "service_tier"),
            ({"extra_body": {"extra_body": {"service_tier": "flex"}}}, "service_tier"),
        )
        for given, name in forbidden:
            for stream in (False, True):
                self.refused(self.post(URL, body_of("echo", stream=stream, **given)), name)
        refused = self.post(URL, body_of("echo", service_tier="priority")).json()["error"]
        self.assertEqual((refused["type"], refused["param"]), ("permission_error", "service_tier"))
        harmless: tuple[dict[str, Any], ...] = (
            {"service_tier": None},
            {"logprobs": False},
            {"n": 3},
            {"temperature": 1},
            {"metadata": {"service_tier": "a label"}},
            {"extra_body": "text"},
        )
        for given in harmless:
            self.assertEqual(self.post(URL, body_of("echo", **given)).status_code, 200, given)

    def test_by_websocket(self):
        _, message_id = self.stopped_answer("fake/slow:20ms:1000")
        forbidden = {"service_tier": "priority"}
        for answer in self.frames(
            {"type": "send", "content": "Hi", "parameters": forbidden},
            {"type": "send", "content": "Hi", "parameters": {"extra_body": forbidden}},
            {"type": "send", "content": "Hi", "temperature": 2},
            {"type": "continue", "message_id": str(message_id), "parameters": forbidden},
        ):
            self.assertEqual((answer["type"], answer["data"]["code"]), ("error", "parameter_not_allowed"))

    def test_by_the_other_apis_and_for_embeddings(self):
        self.refused(self.post("/v1/chat/conversations/stream", {"content": "Hi", "temperature": 2}), "temperature")
        query = 'mutation { sendMessage(content: "Hi", generation: {temperature: 2}) { runId } }'
        [error] = self.post("/graphql", {"query": query}).json()["errors"]
        self.assertEqual(error["extensions"]["code"], "parameter_not_allowed")
        body = {"model": "fake/ok", "input": "Hi", "service_tier": "priority"}
        self.refused(self.post("/v1/embeddings", body), "service_tier")
