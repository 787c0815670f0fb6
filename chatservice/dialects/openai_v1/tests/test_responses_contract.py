"""The contract of every dialect, in the calls of the Responses API."""

from __future__ import annotations

import json
from typing import Any

import httpx2

from chatservice.dialects import contract_refusals
from chatservice.dialects.contract import Call, Capability, Ids, Streamed
from chatservice.dialects.openai_v1.tests.id_calls import calls_with
from chatservice.testing import ApiUser

PATH = "/v1/responses"
ENDS = ("response.completed", "response.incomplete", "response.failed", "error")


def each(name: str, *values: Any) -> list[dict[str, Any]]:
    return [{name: value} for value in values]


class ResponsesContractTest(contract_refusals.DialectContract):
    dialect = "openai_v1"
    unsupported = frozenset({Capability.CREATE, Capability.LIST, Capability.DELETE, Capability.CANCEL})

    def send_call(self, api_user: ApiUser, text: str, *, model: str = "default") -> Call:
        return Call("POST", PATH, {"model": model, "input": text})

    def stream_call(self, api_user: ApiUser, text: str, *, model: str = "default") -> Call:
        return Call("POST", PATH, {"model": model, "input": text, "stream": True})

    def files_call(self, api_user: ApiUser, text: str, file_id: str) -> Call:
        parts = [{"type": "input_text", "text": text}, {"type": "input_image", "file_id": file_id}]
        return Call("POST", PATH, {"model": "fake/ok", "input": [{"role": "user", "content": parts}]})

    def answer_of(self, response: httpx2.Response) -> str:
        return output_text(response.json())

    def streamed(self, body: str) -> Streamed:
        *frames, last = body.rstrip("\n").split("\n\n")
        self.assertEqual(last, "data: [DONE]")
        self.assertNotIn("\nid:", body)
        text, code, ends = "", "", 0
        for number, frame in enumerate(frames):
            named, data = frame.split("\n")
            event = json.loads(data.removeprefix("data: "))
            self.assertEqual((named, event["sequence_number"]), (f"event: {event['type']}", number))
            if event["type"] == "response.output_text.delta":
                text += event["delta"]
            if event["type"] in ENDS:
                ends += 1
                error = event if event["type"] == "error" else event["response"]["error"] or {}
                is_cancelled = event.get("response", {}).get("status") == "cancelled"
                code = "cancelled" if is_cancelled else error.get("code", "")
        return Streamed(text, ends, code)

    def error_code(self, response: httpx2.Response) -> str:
        body = response.json()
        self.assertEqual((set(body), set(body["error"])), ({"error"}, {"message", "type", "param", "code"}))
        self.assertTrue(isinstance(body["error"]["message"], str) and body["error"]["message"])
        return body["error"]["code"]

    def calls_with(self, ids: Ids) -> list[Call]:
        return calls_with(ids)

    def wrong_calls(self) -> list[Call]:
        message = {"type": "message", "role": "user", "content": "Hello"}
        call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
        items: list[Any] = [
            *("x", 5, None, []),
            *({**message, **change} for change in each("role", None, 5, "", "robot", {})),
            *(
                {**message, **change}
                for change in each("content", None, 5, {}, [], ["x"], [{}], [{"type": "nonsense"}])
            ),
            *({**message, "content": [{"type": "input_image", **change}]} for change in ({}, {"image_url": 5})),
            *({**message, "content": [{"type": "input_file", **change}]} for change in ({}, {"file_data": 5})),
            *({**call, **change} for change in each("call_id", None, 5, "")),
            *({**call, **change} for change in each("name", None, 5, "")),
            *({**call, **change} for change in each("arguments", None, 5, {})),
            *({"type": "function_call_output", "call_id": "c", **change} for change in each("output", None, 5, {})),
            {"type": "function_call_output", "output": "x"},
            {"type": "reasoning", "summary": 5},
            {"type": "reasoning", "content": ["x"]},
            {"type": ["message"]},
            {"type": "item_reference", "id": "msg_nobody"},
            {"type": "item_reference"},
            {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        ]
        wrong: list[dict[str, Any]] = [
            *each("model", 5, None, [], "", "x" * 201),
            *each("input", None, 5, {}, []),
            *each("input", *([item] for item in items)),
            *each("instructions", 5, [], {}),
            *each("stream", "true", 1),
            *each("store", "no", 0),
            *each("background", "yes"),
            {"background": True, "store": False},
            *each("temperature", "0.7", True, -1, 3),
            *each("top_p", -0.1, 1.1),
            *each("top_logprobs", -1, 21, 1.5),
            *each("max_output_tokens", "5", True, 0, 1.5),
            *each("metadata", "x", [], {"k": 5}, {"k" * 65: "v"}, {"k": "v" * 513}, {str(n): "" for n in range(17)}),
            *each("tools", "x", {}, [5], [{}], [{"type": "function"}], [{"type": "web_search"}]),
            *each("tool_choice", 5, "maybe", {}, {"type": "function"}, {"type": "allowed_tools", "tools": []}),
            *each("text", "x", {"format": "json"}, {"format": {"type": "yaml"}}, {"format": {"type": "json_schema"}}),
            *each("truncation", "some", 5),
            *each("include", "x", [5]),
            *each("conversation", 5, [], {}),
            *each("previous_response_id", 5, "resp_nobody", ""),
            {"previous_response_id": "resp_x", "conversation": "conv_x"},
            *each("recall", "much", {"limit": -1}),
        ]
        return [
            Call("POST", PATH, {}),
            Call("POST", PATH, {"model": "default"}),
            *(Call("POST", PATH, {"model": "default", "input": "Hello", **change}) for change in wrong),
        ]


def output_text(response: dict[str, Any]) -> str:
    """Return the text of a response, as the official client joins it."""
    messages = [item for item in response["output"] if item["type"] == "message"]
    return "".join(part.get("text", "") for item in messages for part in item["content"])
