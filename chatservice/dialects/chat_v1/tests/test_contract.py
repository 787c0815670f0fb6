"""The contract of every dialect, in the calls of the v1 document."""

from __future__ import annotations

import json
from typing import Any

import httpx2

from chatservice.dialects import contract_refusals
from chatservice.dialects.contract import Call, Ids, Streamed
from chatservice.dialects.contract_files import UNKNOWN
from chatservice.testing import ApiUser, sse_data

BASE = "/v1/chat"


def each(name: str, *values: Any) -> list[dict[str, Any]]:
    """Return an object for each of `values`, with the value under `name`."""
    return [{name: value} for value in values]


class ChatV1ContractTest(contract_refusals.DialectContract):
    dialect = "chat_v1"

    def create_call(self, title: str) -> Call:
        return Call("POST", f"{BASE}/conversations", {"title": title})

    def list_call(self, *, page: int, limit: int) -> Call:
        return Call("GET", f"{BASE}/conversations?page={page}&limit={limit}")

    def delete_call(self, conversation: str) -> Call:
        return Call("DELETE", f"{BASE}/conversations/{conversation}")

    def cancel_call(self, ids: Ids) -> Call:
        return Call("POST", f"{BASE}/messages/{ids.message}/cancel")

    def send_call(self, api_user: ApiUser, text: str, *, model: str = "default") -> Call:
        conversation = self.created_id(self.create_call("").by(api_user.http))
        body = {"content": text, "role": "user", "model": model}
        return Call("POST", f"{BASE}/conversations/{conversation}/messages", body)

    def stream_call(self, api_user: ApiUser, text: str, *, model: str = "default") -> Call:
        return Call("POST", f"{BASE}/conversations/stream", {"content": text, "model": model})

    def files_call(self, api_user: ApiUser, text: str, file_id: str) -> Call:
        call = self.stream_call(api_user, text, model="fake/ok")
        return Call(call.method, call.path, {**call.json, "file_ids": [file_id]})

    def created_id(self, response: httpx2.Response) -> str:
        return response.json()["data"]["id"]

    def listed(self, response: httpx2.Response) -> tuple[list[str], int]:
        body = response.json()
        return [row["id"] for row in body["data"]], body["meta"]["total"]

    def answer_of(self, response: httpx2.Response) -> str:
        return response.json()["data"][-1]["content"]

    def streamed(self, body: str) -> Streamed:
        *lines, last = sse_data(body)
        self.assertEqual((last, "[DONE]" in lines), ("[DONE]", False))
        events = [json.loads(line) for line in lines]
        ends = [event for event in events if event["type"] in ("ai_complete", "error")]
        self.assertEqual(ends[-1:], events[-1:], "nothing comes after the end")
        text = "".join(event["data"] for event in events if event["type"] == "ai_chunk")
        return Streamed(text, len(ends), ends[-1]["data"].get("code", "") if ends else "")

    def error_code(self, response: httpx2.Response) -> str:
        body = response.json()
        self.assertEqual(set(body), {"success", "message", "error"})
        self.assertEqual(set(body["error"]), {"code", "details", "request_id"})
        self.assertEqual(body["error"]["request_id"], response.headers["x-request-id"])
        self.assertIs(body["success"], False)
        self.assertTrue(isinstance(body["message"], str) and body["message"])
        self.assertIsInstance(body["error"]["details"], dict)
        return body["error"]["code"]

    def calls_with(self, ids: Ids) -> list[Call]:
        conversation, message, run = (
            f"{BASE}/conversations/{ids.conversation}",
            f"{BASE}/messages/{ids.message}",
            f"{BASE}/runs/{ids.run}",
        )
        own = self.created_id(self.create_call("").by(self.bob.http))
        body = {"content": "Let me in", "role": "user"}
        return [
            Call("GET", conversation),
            Call("PATCH", conversation, {"title": "Mine now"}),
            Call("DELETE", conversation),
            Call("GET", f"{conversation}/export"),
            Call("GET", f"{conversation}/messages"),
            Call("POST", f"{conversation}/messages", body),
            Call("POST", f"{conversation}/messages", {"content": "Stored", "role": "system"}),
            Call("POST", f"{conversation}/messages/stream", body),
            Call("GET", message),
            Call("DELETE", message),
            Call("PUT", f"{message}/feedback", {"rating": "down", "comment": "Not mine"}),
            Call("DELETE", f"{message}/feedback"),
            Call("POST", f"{message}/cancel"),
            Call("POST", f"{message}/regenerate", {}),
            Call("POST", f"{message}/regenerate/stream", {}),
            Call("POST", f"{message}/continue", {}),
            Call("POST", f"{message}/continue/stream", {}),
            Call("POST", f"{run}/cancel"),
            Call("GET", f"{run}/stream"),
            # No import has this id; tests/test_matrix_leaks.py tries somebody else's.
            Call("GET", f"{BASE}/imports/{ids.message}"),
            Call("POST", f"{BASE}/imports/{ids.message}/cancel"),
            Call("POST", f"{BASE}/shared-links", {"message_id": ids.message}),
            # No link has this id; test_shared_links.py tries somebody else's.
            Call("DELETE", f"{BASE}/shared-links/{ids.message}"),
            # No key has this id; test_keys.py tries somebody else's key.
            Call("DELETE", f"{BASE}/me/keys/{ids.message}"),
            Call("POST", f"{BASE}/me/keys/{ids.message}/rotate", {}),
            Call("POST", f"{BASE}/conversations/{own}/messages", {**body, "parent_id": ids.message}),
            Call("POST", f"{BASE}/conversations/{own}/messages", {**body, "role": "system", "parent_id": ids.message}),
            Call("POST", f"{BASE}/conversations/{own}/messages/stream", {**body, "parent_id": ids.message}),
        ]

    def wrong_calls(self) -> list[Call]:
        conversation = self.created_id(self.create_call("").by(self.alice.http))
        self.send_call(self.alice, "A run to resume").by(self.alice.http)
        run, answer = self.ids_of(self.alice).run, self.ids_of(self.alice).message
        wrong: list[dict[str, Any]] = [
            *each("content", None, 5, True, [], {}, ["x"], "", " \n", "x" * 262_145),
            *each("role", "tool", "admin", "USER", 5, None, [], {}),
            *each("model", 5, None, [], {}, "", "x" * 201),
            *each("temperature", "0.7", True, [], {}, -0.1, 2.1),
            *each("max_tokens", "5", True, 1.5, 0, -1, 2**31),
            *each("stop", 5, {}, [1], ["a"] * 5),
            *each("file_ids", 5, "x", True, {}, [5], [None], [[]], ["file-abc"], ["file-abc"] * 21),
            *each("parent_id", "abc", 5, [], {}, True),
        ]
        changes = [
            *each("title", 5, None),
            *each("archived", "yes", None),
            *each("pinned", 1, None),
            *each("tags", None, 5, "x", {}, [5], [""], ["x" * 51], ["a\x00b"], [str(number) for number in range(21)]),
            *each("metadata", [], 5),
        ]
        generations = each(
            "generation",
            *(5, "x", [], True, {"x": 5}, {"stop": ["."]}, {"instructions": 5}, {"instructions": "x" * 16_001}),
            *({"instructions": "a\x00b"}, {"temperature": "0.7"}, {"temperature": True}, {"temperature": 2.1}),
            *({"top_p": -0.1}, {"max_tokens": 0}, {"max_tokens": 1.5}, {"max_tokens": 2**31}),
            *({"reasoning_effort": "very"}, {"reasoning_effort": ["low"]}),
        )
        changes += generations
        ratings = [{}, *each("rating", None, 5, True, [], {}, "", "UP", "good")]
        comments = each("comment", None, 5, True, [], {}, "x" * 2_001, "a\x00b")
        links = [
            *each("message_id", None, 5, True, [], {}, "", "x"),
            *each("expires_in_days", "7", True, [], {}, 1.5, 0, -1, 91, 2**31),
            *each("title", 5, [], {}, True, "x" * 201, "a\x00b"),
        ]
        valid = {"content": "Hello", "role": "user"}
        messages = f"{BASE}/conversations/{conversation}/messages"
        paths = [messages, f"{messages}/stream"]
        cursors = ("x", "0", f"{run}.0.0", f"{'0' * 32}.1.1", f"{run.replace('-', '')}.-1.0", "%00", "a" * 500)
        pages = ("page=0", "page=-1", "page=x", "page=1.5", f"page={2**64}", "limit=0", "limit=101", "limit=x")
        return [
            *(Call("POST", path, {**valid, **change}) for path in paths for change in wrong),
            *(Call("POST", path, {"role": "user"}) for path in paths),
            Call("POST", paths[1], {"content": "Hello", "role": "assistant"}),
            *(Call("POST", paths[0], {**valid, "role": "system", "file_ids": ids}) for ids in ([UNKNOWN], ["x"])),
            *(Call("POST", f"{BASE}/conversations", body) for body in each("title", 5, True, [], {}, "x" * 201)),
            *(Call("POST", f"{BASE}/conversations", body) for body in each("metadata", 5, "x", [])),
            *(Call("POST", f"{BASE}/conversations", body) for body in generations),
            *(Call("POST", f"{BASE}/conversations/stream", {"content": "Hello", **body}) for body in generations),
            *(Call("PATCH", f"{BASE}/conversations/{conversation}", body) for body in changes),
            *(Call("PUT", f"{BASE}/messages/{answer}/feedback", body) for body in ratings),
            *(Call("PUT", f"{BASE}/messages/{answer}/feedback", {"rating": "up", **body}) for body in comments),
            *(Call("POST", f"{BASE}/shared-links", {"message_id": answer, **body}) for body in links),
            *(
                Call("POST", f"{BASE}/conversations/stream", body)
                for body in each("content", None, 5, "", "x" * 262_145)
            ),
            *(Call("GET", f"{BASE}/runs/{run}/stream", headers={"Last-Event-ID": cursor}) for cursor in cursors),
            *(Call("GET", f"{BASE}/runs/{run}/stream?after={cursor}") for cursor in cursors),
            *(Call("GET", f"{BASE}/conversations?{page}") for page in pages),
            *(Call("GET", f"{messages}?{page}") for page in pages),
            Call("GET", f"{BASE}/conversations?archived=maybe"),
            Call("GET", f"{BASE}/conversations?pinned=maybe"),
            *(Call("GET", f"{BASE}/conversations?tag={tag}") for tag in ("", "%20", "x" * 51, "%00")),
            *(Call("GET", f"{BASE}/search?{query}") for query in ("", "q=%20", "q=x&mode=fast", "q=x&cursor=x")),
        ]
