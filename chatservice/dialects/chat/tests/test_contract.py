"""The contract of every dialect, in the browser chat document's calls: asking means posting and reading the stream."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import httpx2

from chatservice.dialects import contract_refusals
from chatservice.dialects.chat.tests.chatting import start, text_of
from chatservice.dialects.contract import Call, Capability, Ids, Streamed
from chatservice.dialects.contract_files import ASKED
from chatservice.testing import ApiUser, sse_events

BASE = "/chat/conversation"


class ChatContractTest(contract_refusals.DialectContract):
    dialect = "chat"
    # A conversation is created by GET, with 200 (test_documented, test_access), and can only be reset.
    unsupported = frozenset(
        {Capability.CREATE, Capability.LIST, Capability.DELETE, Capability.CANCEL, Capability.IDEMPOTENCY}
    )
    keeps_partial_of_whole = False

    def setUp(self) -> None:
        super().setUp()
        # Here a caller without a key is a guest, unless the request shows that it comes from another site.
        self.guest.headers["X-Forwarded-For"] = "203.0.113.7"

    def send_call(self, api_user: ApiUser, text: str, *, model: str = "default") -> Call:
        return Call("GET", f"{start(api_user.http, text)}/stream?model={quote(model)}")

    stream_call = send_call

    def ask_about_file(self, api_user: ApiUser, file_id: str, text: str = ASKED) -> httpx2.Response:
        """Store the question with its file, unless that is refused, and stream the answer."""
        path, body = start(api_user.http, ""), {"content": text, "fileIds": [file_id]}
        stored = Call("POST", f"{path}/message", body).by(api_user.http)
        return stored if stored.status_code >= 400 else api_user.http.get(f"{path}/stream?model=fake/ok")

    def answer_of(self, response: httpx2.Response) -> str:
        return self.streamed(response.text).text

    def streamed(self, body: str) -> Streamed:
        events = sse_events(body)
        errors = [json.loads(event["data"]) for event in events if event.get("event") == "error"]
        for error in errors:
            self.assertEqual(set(error), {"code", "message"})
        # A successful stream simply ends: the document shows no final event.
        return Streamed(text_of(events), len(errors) or 1, errors[0]["code"] if errors else "")

    def error_code(self, response: httpx2.Response) -> str:
        body = response.json()
        self.assertEqual(set(body), {"error"})
        self.assertLessEqual({"code", "message", "request_id"}, set(body["error"]))
        self.assertLessEqual(set(body["error"]), {"code", "message", "details", "request_id"})
        self.assertEqual(body["error"]["request_id"], response.headers["x-request-id"])
        self.assertTrue(isinstance(body["error"]["message"], str) and body["error"]["message"])
        return body["error"]["code"]

    def calls_with(self, ids: Ids) -> list[Call]:
        path = f"{BASE}/{ids.conversation}"
        return [
            Call("GET", path),
            Call("POST", f"{path}/message", {"content": "Let me in"}),
            Call("GET", f"{path}/messages"),
            Call("GET", f"{path}/stream"),
            Call("DELETE", path),
        ]

    def calls_with_body(self) -> list[Call]:
        return [Call("POST", f"{start(self.alice.http, '')}/message", {"content": "x"})]

    def wrong_calls(self) -> list[Call]:
        path = start(self.alice.http)
        contents: tuple[Any, ...] = (None, 5, True, [], {}, ["x"], "", " \n", "x" * 262_145)
        file_ids: tuple[Any, ...] = (5, "x", True, {}, [5], [None], [[]], ["file-abc"], ["file-abc"] * 21)
        queries = ("after=x", "after=0", "after=%00", f"after={'0' * 32}.-1.0", "model=", f"model={'x' * 201}")
        pages = ("page=0", "page=-1", "page=x", "page=1.5", f"page={2**64}", "limit=0", "limit=101", "limit=x")
        return [
            Call("POST", f"{path}/message", {}),
            *(Call("POST", f"{path}/message", {"content": content}) for content in contents),
            *(Call("POST", f"{path}/message", {"content": "x", "fileIds": ids}) for ids in file_ids),
            *(Call("GET", f"{path}/stream?{query}") for query in queries),
            *(Call("GET", f"{path}/messages?{page}") for page in pages),
        ]

    def test_when_the_stream_says_that_it_is_done_the_answer_is_stored(self):
        """In this API the end of the stream means that the answer is done."""
        for _ in range(5):
            with self.stream_call(self.alice, "Quick!", model="fake/ok").opened_by(self.alice.http) as response:
                response.read()
                self.assertEqual(self.answer_by(self.alice).status, "complete")
