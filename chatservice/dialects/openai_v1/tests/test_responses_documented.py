"""What the Responses API sends is what the OpenAPI document says, whatever the model does."""

from __future__ import annotations

import json
from typing import Any

import httpx2

from chatservice.dialects.openai_v1.tests.documented import problems_of
from chatservice.dialects.openai_v1.tests.test_documented import MODELS
from chatservice.testing import ServiceTestCase, sse_data, tried_once

PATH = "/v1/responses"
FUNCTION = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}
CUSTOM = {"type": "custom", "name": "shell", "description": "Runs a command"}
CALL = {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}"}
RESULT = {"type": "function_call_output", "call_id": "call_1", "output": [{"type": "input_text", "text": "sunny"}]}
CUSTOM_CALL = {"type": "custom_tool_call", "call_id": "call_2", "name": "shell", "input": "ls"}
CUSTOM_RESULT = {"type": "custom_tool_call_output", "call_id": "call_2", "output": "README.md"}
THOUGHT = {"type": "reasoning", "id": "rs_theirs", "summary": [{"type": "summary_text", "text": "Hm."}]}
PICTURE = {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}
FILE = {"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,aGVsbG8="}
QUESTION = {"role": "user", "content": [{"type": "input_text", "text": "Tell me a joke"}, PICTURE, FILE]}
ITEMS = [
    {"role": "developer", "content": "Be brief"},
    {"role": "user", "content": "What is the weather?"},
    *(THOUGHT, CALL, RESULT, CUSTOM_CALL, CUSTOM_RESULT),
    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Sunny", "annotations": []}]},
    QUESTION,
]
REQUESTS: tuple[dict[str, Any], ...] = (
    {"tools": [FUNCTION, CUSTOM], "tool_choice": "auto", "parallel_tool_calls": False, "max_tool_calls": 3},
    {"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "weather"}},
    {"text": {"format": {"type": "json_schema", "name": "joke", "schema": {"type": "object"}}, "verbosity": "low"}},
    {"metadata": {"topic": "jokes"}, "user": "u", "safety_identifier": "s", "prompt_cache_key": "k"},
    {"temperature": 0.5, "top_p": 0.5, "max_output_tokens": 50, "truncation": "auto", "service_tier": "auto"},
    {"include": ["message.output_text.logprobs"], "top_logprobs": 2, "model": "fake/logprobs"},
    {"reasoning": {"effort": "low", "summary": "auto"}, "model": "fake/reasoning"},
    {"instructions": "Be brief", "store": False, "include": ["reasoning.encrypted_content"]},
    {"background": True},
    {"recall": True},
)
# What a model's server may do wrong.
FAULTS = (
    "fake/http-500",
    "fake/http-429:60",
    "fake/truncated",
    "fake/html-200",
    "fake/context-length",
    "fake/error-200",
)


@tried_once
class ResponsesDocumentedTest(ServiceTestCase):
    def send(self, path: str, body: dict[str, Any] | None = None, method: str = "") -> httpx2.Response:
        method = method or ("GET" if body is None else "POST")
        response = self.alice.http.request(method, path, json=body)
        with self.subTest(f"{method} {path} {json.dumps(body)[:300]}"):
            self.assertEqual(list(problems_of(response)), [])
        return response

    def create(self, **body: Any) -> dict[str, Any]:
        """Create a response whole, and read it again; return it."""
        made = self.send(PATH, {"model": "fake/ok", "input": "Tell me a joke", **body}).json()
        if "id" in made and body.get("store", True):
            for query in ("", "?include[]=message.output_text.logprobs", "?stream=true"):
                self.send(f"{PATH}/{made['id']}{query}")
            for order in ("asc", "desc"):
                self.send(f"{PATH}/{made['id']}/input_items?order={order}")
        return made

    def stream(self, **body: Any) -> dict[str, Any]:
        """Create a streamed response; return the last event."""
        response = self.send(PATH, {"model": "fake/ok", "input": "Tell me a joke", **body, "stream": True})
        if response.headers["content-type"] == "application/json":
            return response.json()
        return json.loads(sse_data(response.text)[-2])

    def test_whatever_the_model_sends_the_response_is_as_documented(self) -> None:
        for model in MODELS:
            self.create(model=model)
            self.stream(model=model)

    def test_whatever_is_asked_the_response_is_as_documented(self) -> None:
        for request in REQUESTS:
            self.create(**request)
            self.stream(**request)

    def test_all_kinds_of_items_come_back_as_documented(self) -> None:
        first = self.create(input=ITEMS)
        self.create(input="Another one", previous_response_id=first["id"])
        conversation = self.send("/v1/conversations", {"items": ITEMS}).json()["id"]
        self.create(conversation=conversation)
        self.stream(conversation={"id": conversation})
        self.send(f"/v1/conversations/{conversation}/items?include[]=reasoning.encrypted_content")

    def test_failures_are_as_documented(self) -> None:
        for model in FAULTS:
            self.create(model=model)
            self.stream(model=model)
            last = self.stream(model=model, background=True)
            self.assertEqual(last["type"], "response.failed")
            self.assertEqual(self.send(f"{PATH}/{last['response']['id']}").json()["status"], "failed")
            self.send(f"{PATH}/{last['response']['id']}?stream=true")

    def test_a_cancelled_one_is_as_documented(self) -> None:
        made = self.send(PATH, {"model": "fake/slow:20ms:2000", "input": "Go on", "background": True}).json()
        cancelled = self.send(f"{PATH}/{made['id']}/cancel", {}).json()
        self.assertEqual(cancelled["status"], "cancelled")
        self.send(f"{PATH}/{made['id']}?stream=true")

    def test_counting_compacting_and_deleting_are_as_documented(self) -> None:
        made = self.create()
        self.send(f"{PATH}/input_tokens", {"model": "fake/ok", "input": ITEMS, "tools": [FUNCTION]})
        self.send(f"{PATH}/input_tokens", {"previous_response_id": made["id"]})
        [compaction] = self.send(f"{PATH}/compact", {"model": "fake/ok", "input": ITEMS}).json()["output"]
        self.create(input=[compaction, QUESTION])
        self.send(f"{PATH}/{made['id']}", method="DELETE")
        for path in ("", "/input_items"):
            self.send(f"{PATH}/{made['id']}{path}")
        self.send(f"{PATH}/{made['id']}/cancel", {})
        self.send(f"{PATH}/{made['id']}", method="DELETE")

    def test_refusals_are_as_documented(self) -> None:
        bodies: tuple[dict[str, Any], ...] = (
            {},
            {"input": []},
            {"input": "x", "model": 5},
            {"input": "x", "previous_response_id": "resp_x"},
        )
        for body in bodies:
            self.send(PATH, body)
            self.send(PATH, {**body, "stream": True})
            self.send(f"{PATH}/compact", body)
            self.send(f"{PATH}/input_tokens", {**body, "tools": 5})
        made = self.create()
        self.send(f"{PATH}/{made['id']}/cancel", {})  # it was not created in the background
        self.send(f"{PATH}/{made['id']}/input_items?limit=0")
        self.send(f"{PATH}/{made['id']}?stream=true&starting_after=x")
