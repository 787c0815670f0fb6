"""What the service sends is what its OpenAPI document says."""

from __future__ import annotations

from typing import Any

import httpx2

from chatservice.dialects.openai_v1.tests.documented import problems_of
from chatservice.testing import ServiceTestCase, tried_once

CHAT = "/v1/chat/completions"
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
SCHEMA = {"name": "joke", "schema": {"type": "object"}}
# What a model's server may answer with. Wrong counts of tokens and broken tool calls are not here: they are passed on.
MODELS = (
    *(
        "default",
        "fake/ok",
        "fake/echo-body",
        "fake/tools",
        "fake/logprobs",
        "fake/n2",
        "fake/reasoning",
        "fake/refusal",
    ),
    *("fake/reasoning-only", "fake/nothing", "fake/unknown-fields", "fake/usage-missing", "fake/usage-on-finish"),
    *("fake/rich-json", "fake/json-200", "fake/sse-200", "fake/finish-no-done"),
    *("fake/number-content", "fake/finish-error"),
)
REQUESTS: tuple[dict[str, Any], ...] = (
    {"n": 2},
    {"tools": [TOOL], "tool_choice": "auto", "parallel_tool_calls": True},
    {"response_format": {"type": "json_schema", "json_schema": SCHEMA}},
    {"metadata": {"topic": "jokes"}, "user": "u", "seed": 1, "stop": ["x"], "logprobs": True, "top_logprobs": 2},
    {"store": False},
    {"recall": True},
)


@tried_once
class DocumentedTest(ServiceTestCase):
    def send(self, path: str, body: dict[str, Any] | None = None) -> httpx2.Response:
        method = "GET" if body is None else "POST"
        response = self.alice.http.request(method, path, json=body)
        with self.subTest(f"{method} {path} {body}"):
            self.assertEqual(list(problems_of(response)), [])
        return response

    def test_whatever_the_model_sends_the_answer_is_as_documented(self) -> None:
        messages = [{"role": "user", "content": "Tell me a joke"}]
        for model in MODELS:
            for stream in (False, True):
                self.send(CHAT, {"model": model, "messages": messages, "stream": stream})

    def test_whatever_is_asked_the_answer_is_as_documented(self) -> None:
        messages = [
            {"role": "system", "content": "Be brief"},
            {"role": "user", "content": [{"type": "text", "text": "Tell me a joke"}], "name": "alice"},
        ]
        for request in REQUESTS:
            for stream in (False, True):
                options = {"stream_options": {"include_usage": True}} if stream else {}
                self.send(CHAT, {"model": "default", "messages": messages, "stream": stream, **options, **request})

    def test_embeddings_and_models_are_as_documented(self) -> None:
        for encoding in ("float", "base64"):
            self.send("/v1/embeddings", {"model": "default", "input": ["One", "two"], "encoding_format": encoding})
        [first, *_] = self.send("/v1/models").json()["data"]
        self.send(f"/v1/models/{first['id']}")

    def test_files_are_as_documented(self) -> None:
        self.send("/v1/files")
        for purpose in ("user_data", "evals"):
            more = {"purpose": purpose, "expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
            response = self.alice.http.post("/v1/files", files={"file": ("a.txt", b"x")}, data=more)
            self.assertEqual(list(problems_of(response)), [])
        path = f"/v1/files/{response.json()['id']}"
        self.send(path)
        self.send(f"{path}/content")
        self.send("/v1/files?purpose=evals")
        self.send("/v1/files?purpose=x")
        self.send("/v1/files", {"purpose": "evals"})
        self.assertEqual(list(problems_of(self.alice.http.delete(path))), [])
        self.send(path)

    def test_refusals_are_as_documented(self) -> None:
        self.send(CHAT, {"model": "default"})
        self.send(CHAT, {"model": "fake/status:500", "messages": [{"role": "user", "content": "x"}], "stream": True})
        self.send("/v1/embeddings", {"model": "default", "input": []})
        self.send("/v1/models/none-of-that-name")

    def test_what_is_not_documented_is_found(self) -> None:
        request = httpx2.Request("GET", "http://127.0.0.1/v1/models")
        wrong = (
            httpx2.Response(418, json={}, request=request),
            httpx2.Response(200, text="list", request=request),
            httpx2.Response(200, json={"object": "list", "data": [{"id": "m"}]}, request=request),
            httpx2.Response(200, json={"object": "dict", "data": []}, request=request),
        )
        for response in wrong:
            self.assertTrue(list(problems_of(response)), response)

    def test_where_there_is_no_operation_only_that_may_be_said(self) -> None:
        for method, path, status in (
            ("GET", "/v1/none", 404),
            ("GET", "/v1/responses/..%2F..", 404),
            ("POST", "/v1/responses/a%2Fb/cancel", 404),
            ("PUT", "/v1/responses", 405),
        ):
            with self.subTest(f"{method} {path}"):
                response = self.alice.http.request(method, path)
                self.assertEqual((response.status_code, list(problems_of(response))), (status, []))
                found = httpx2.Response(200, json={"object": "list", "data": []}, request=response.request)
                self.assertTrue(list(problems_of(found)))
