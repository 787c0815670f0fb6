"""The contract of every dialect, in OpenAI's calls."""

from __future__ import annotations

import dataclasses
import json
import uuid
from typing import Any

import httpx2
from django.core.files.base import ContentFile

from chatservice.dialects import contract_refusals
from chatservice.dialects.contract import Call, Capability, Ids, Streamed
from chatservice.dialects.openai_v1.tests.documented import problems_of
from chatservice.dialects.openai_v1.tests.id_calls import calls_with
from chatservice.testing import ApiUser, sse_data
from files.public_ids import public_id
from files.services import store_file

PATH = "/v1/chat/completions"


def each(name: str, *values: Any) -> list[dict[str, Any]]:
    """Return an object for each of `values`, with the value under `name`."""
    return [{name: value} for value in values]


class OpenAIContractTest(contract_refusals.DialectContract):
    dialect = "openai_v1"
    # Lists have no pages by number and no total: test_conversations.py reads them.
    unsupported = frozenset({Capability.LIST, Capability.CANCEL})
    # The upstream gets the client's own `stream` value: a non-streamed answer arrives whole or not at all.
    keeps_partial_of_whole = False
    leaving_stops = True

    def send_call(self, api_user: ApiUser, text: str, *, model: str = "default") -> Call:
        return Call("POST", PATH, {"model": model, "messages": [{"role": "user", "content": text}]})

    def stream_call(self, api_user: ApiUser, text: str, *, model: str = "default") -> Call:
        call = self.send_call(api_user, text, model=model)
        return Call("POST", PATH, {**call.json, "stream": True})

    def files_call(self, api_user: ApiUser, text: str, file_id: str) -> Call:
        parts = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"file_id": file_id}}]
        return Call("POST", PATH, {"model": "fake/ok", "messages": [{"role": "user", "content": parts}]})

    def create_call(self, title: str) -> Call:
        return Call("POST", "/v1/conversations", {"metadata": {"title": title}})

    def created_id(self, response: httpx2.Response) -> str:
        return str(uuid.UUID(response.json()["id"].removeprefix("conv_")))

    def delete_call(self, conversation: str) -> Call:
        return Call("DELETE", f"/v1/conversations/conv_{uuid.UUID(conversation).hex}")

    def answer_of(self, response: httpx2.Response) -> str:
        return response.json()["choices"][0]["message"]["content"]

    def streamed(self, body: str) -> Streamed:
        *lines, last = sse_data(body)
        self.assertEqual((last, "[DONE]" in lines), ("[DONE]", False))
        self.assertNotIn("\nid:", body)
        text, code, ends = "", "", 0
        for line in lines:
            chunk = json.loads(line)
            if error := chunk.get("error"):
                code, ends = error["code"], ends + 1
            for choice in chunk.get("choices", ()):
                text += choice["delta"].get("content") or ""
                ends += choice["finish_reason"] is not None
        return Streamed(text, ends, code)

    def error_code(self, response: httpx2.Response) -> str:
        self.assertEqual(list(problems_of(response)), [])
        body = response.json()
        self.assertEqual((set(body), set(body["error"])), ({"error"}, {"message", "type", "param", "code"}))
        self.assertTrue(isinstance(body["error"]["message"], str) and body["error"]["message"])
        self.assertIsInstance(body["error"]["type"], str)
        return body["error"]["code"]

    def ids_of(self, api_user: ApiUser) -> Ids:
        content = ContentFile(f"A file of {api_user.user.username}".encode())
        file = store_file(owner_id=api_user.user.pk, content=content, name="a.txt", purpose="user_data")
        return dataclasses.replace(super().ids_of(api_user), file=public_id(file.pk))

    def calls_with(self, ids: Ids) -> list[Call]:
        return calls_with(ids)

    def wrong_calls(self) -> list[Call]:
        messages = [{"role": "user", "content": "Hello"}]
        wrong: list[dict[str, Any]] = [
            *each("model", 5, None, [], {}, "", "x" * 201),
            *each("messages", None, 5, "x", {}, [], ["x"], [None], [[]], [{}]),
            *each("messages", *([said] for said in each("role", None, 5, "", [], {}))),
            *each("messages", *([{"role": "user", **said}] for said in each("content", None, 5, True, {}, ["x"]))),
            *each("stream", "true", 1, [], {}),
            *each("temperature", "0.7", True, [], {}),
            *each("n", "1", True, 1.5, 0, 129),
            *each("max_tokens", "5", True, 1.5),
            *(body for name in ("tools", "functions") for body in each(name, "x", 5, {})),
            *(body for name in ("metadata", "stream_options") for body in each(name, "x", 5, [])),
        ]
        return [
            Call("POST", PATH, {}),
            Call("POST", PATH, {"model": "default"}),
            *(Call("POST", PATH, {"model": "default", "messages": messages, **change}) for change in wrong),
        ]
