"""The contract of every dialect, in frames. Refusal codes, run rows and close codes stand for HTTP statuses."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import msgspec

from chatservice.dialects import contract_refusals
from chatservice.dialects.contract import Call, Capability, Ids, Streamed
from chatservice.dialects.contract_sockets import LINES, frames_in
from chatservice.dialects.websocket.client_frames import ClientFrame
from chatservice.dialects.websocket.tests.calling import IDS, OPENING, PATH, FrameCall, frame_call
from chatservice.testing import ApiUser
from completions.models import Run
from conversations.services import start_conversation
from foundation.ids import uuid7

# Statuses of refusal codes and of close codes; 1007 and 1009 are defined by the websocket protocol.
STATUSES = {
    "already_authenticated": 409,
    "bad_cursor": 400,
    "binary_frame": 415,
    "file_not_found": 400,
    "frame_too_large": 413,
    "idempotency_mismatch": 422,
    "identity_changed": 401,
    "invalid_frame": 400,
    "invalid_json": 400,
    "json_too_deep": 400,
    "json_too_wide": 400,
    "message_too_long": 400,
    "not_found": 404,
    "nul_character": 400,
    "request_too_large": 413,
    "title_too_long": 400,
    "unauthorized": 401,
    "unknown_type": 400,
}
CLOSES = {1007: 400, 1009: 413, 4401: 401, 4408: 408, 4410: 401, 4413: 413, 4429: 429, 4500: 500}
ERROR = {"type", "data"}
OF_A_RUN = {"run_id", "conversation_id", "cursor"}
# This looks nothing up: it only ends a subscription of the same socket.
WITHOUT_LOOKUP = {("unsubscribe", "run_id")}


class WebSocketContractTest(contract_refusals.DialectContract):
    dialect = "websocket"
    unsupported = frozenset({Capability.CREATE, Capability.LIST, Capability.DELETE})
    stream_type = LINES

    def setUp(self) -> None:
        super().setUp()
        # Here a caller without a key is a guest, unless the request shows that it comes from another site.
        self.guest.headers["X-Forwarded-For"] = "203.0.113.7"

    def send_call(self, api_user: ApiUser, text: str, *, model: str = "default") -> Call:
        return frame_call("send", content=text, model=model, waits=True)

    def stream_call(self, api_user: ApiUser, text: str, *, model: str = "default") -> Call:
        return frame_call("send", content=text, model=model)

    def files_call(self, api_user: ApiUser, text: str, file_id: str) -> Call:
        return frame_call("send", content=text, model="fake/ok", file_ids=[file_id], waits=True)

    def send_call_again(self, call: Call) -> Call:
        return frame_call("ping")

    def cancel_call(self, ids: Ids) -> Call:
        return frame_call("stop", run_id=ids.run)

    def send_raw(self, call: Call, body: bytes, content_type: str) -> httpx2.Response:
        """Send JSON as a text message with its frame type; send anything else as a binary message."""
        is_text = content_type == "application/json"
        if is_text and body.startswith(b"{"):
            body = body.replace(b"{", b'{"type": "send", ', 1)
        return FrameCall("GET", PATH, raw=body, is_text=is_text).by(self.alice.http)

    def is_done(self, line: str) -> bool:
        return json.loads(line)["type"] == "ai_complete"

    def answer_of(self, response: httpx2.Response) -> str:
        [frame] = frames_in(response)
        self.assertEqual((frame["type"], frame["id"]), ("ai_complete", "1"))
        return frame["data"]["content"]

    def streamed(self, body: str) -> Streamed:
        first, *frames = [json.loads(line) for line in body.splitlines()]
        self.assertIn(first["type"], OPENING)
        ends = [frame for frame in frames if frame["type"] in ("ai_complete", "error")]
        self.assertEqual(ends[-1:], frames[-1:], "nothing comes after the end")
        for frame in (first, *frames):
            self.assertEqual((frame["id"], frame["run_id"]), ("1", first["run_id"]))
        text = "".join(frame["data"] for frame in frames if frame["type"] == "ai_chunk")
        return Streamed(text, len(ends), ends[-1]["data"].get("code", "") if ends else "")

    def status_of(self, response: httpx2.Response) -> int:
        frames = frames_in(response)
        first, last = frames[0], frames[-1]
        if last["type"] == "close":
            return CLOSES[last["code"]]
        if last["type"] != "error" or first["type"] in OPENING:
            return 200
        if "run_id" in last:
            return Run.objects.get(pk=last["run_id"]).http_status
        return STATUSES[last["data"]["code"]]

    def error_code(self, response: httpx2.Response) -> str:
        error, *closed = frames_in(response)
        if error["type"] == "close":
            self.assertIn(error["code"], (1007, 1009), "a close of our own says why before")
            return str(error["code"])
        self.assertEqual([frame["type"] for frame in (error, *closed)], ["error", "close"][: 1 + len(closed)])
        self.assertIn(set(error) - {"id"}, (ERROR, ERROR | OF_A_RUN))
        self.assertEqual(error.get("id", "1"), "1")
        named = set() if "run_id" in error else {"request_id"}
        self.assertEqual(set(error["data"]) - {"retry_after"}, {"code", "message"} | named)
        self.assertTrue(isinstance(error["data"]["message"], str) and error["data"]["message"])
        return error["data"]["code"]

    def assert_turned_away(self, response: httpx2.Response, code: str = "") -> None:
        seen = self.error_code(response)
        self.assertEqual((STATUSES[seen], self.status_of(response)), (401, 401), response.text)
        self.assertEqual(seen, code or seen)

    def calls_with(self, ids: Ids) -> list[Call]:
        own = str(start_conversation(owner_id=self.bob.user.pk).pk)
        return [
            frame_call("send", content="Let me in", conversation_id=ids.conversation),
            frame_call("send", content="Let me in", conversation_id=own, parent_id=ids.message),
            frame_call("continue", message_id=ids.message),
            frame_call("subscribe", run_id=ids.run),
            frame_call("subscribe", conversation_id=ids.conversation),
            frame_call("stop", run_id=ids.run),
        ]

    def calls_with_body(self) -> list[Call]:
        return [self.send_call(self.alice, "x")]

    def wrong_calls(self) -> list[Call]:
        self.send_call(self.alice, "A run to follow").by(self.alice.http)
        ids = self.ids_of(self.alice)
        fields: dict[str, tuple[Any, ...]] = {
            "content": (None, 5, True, [], {}, ["x"], "", " \n", "x" * 262_145, "a\x00b"),
            "model": (5, True, [], {}, "", "x" * 201),
            "title": (5, True, [], {}, "x" * 201),
            "temperature": ("0.7", True, [], {}),
            "parameters": (5, "x", [], {"n": 0}, {"n": 1.5}, {"max_tokens": "5"}, {"tools": {}}, {"stream": True}),
            "recall": (5, "x", [], {"limit": -1}, {"mode": "fast"}),
            "file_ids": (5, "x", {}, [5], [None], ["x" * 201], ["file-abc"] * 21, ["file-abc"]),
            "client_id": (5, "", "a b", "é", "x" * 256),
            "conversation_id": (5, True, [], {}),
            "parent_id": (5, ids.message),  # its `conversation_id` is missing
            "id": (5, [], "x" * 201),
            "unknown": (1,),
        }
        cursors = ("", "x", "0", f"{'0' * 32}.1.1", f"{ids.run.replace('-', '')}.-1.0", "a" * 500, 5)
        send: dict[str, Any] = {"content": "Hello"}
        others: tuple[Any, ...] = (5, [], {})
        return [
            *(frame_call("send", **{**send, name: value}) for name, values in fields.items() for value in values),
            frame_call("send"),
            frame_call("send", **send, conversation_id=ids.conversation, title="x"),
            frame_call("send", **send, temperature=1, parameters={"temperature": 1}),
            *(frame_call("subscribe", run_id=ids.run, cursor=cursor) for cursor in cursors),
            frame_call("subscribe"),
            frame_call("subscribe", run_id=ids.run, conversation_id=ids.conversation),
            frame_call("subscribe", conversation_id=ids.conversation, cursor=f"{ids.run.replace('-', '')}.0.0"),
            *(frame_call(kind) for kind in ("continue", "stop", "unsubscribe")),
            *(frame_call(kind, run_id=value) for kind in ("stop", "unsubscribe", "subscribe") for value in others),
            *(frame_call("continue", message_id=value) for value in others),
            *(frame_call(kind) for kind in ("", "SEND", "close", "message")),
        ]

    def test_no_route_with_an_id_is_forgotten(self):
        """In frames: the contract knows every field that takes an id."""
        known = {
            (call.json["type"], name)
            for call in self.calls_with(Ids("c", "m", "r"))
            for name in call.json
            if name in IDS
        }
        found = {
            (kind.__struct_config__.tag, field.name)
            for kind in ClientFrame.__args__
            for field in msgspec.structs.fields(kind)
            if field.name.endswith("_id") and field.name != "client_id"
        }
        self.assertEqual(found - WITHOUT_LOOKUP, known)

    def test_unsubscribing_tells_nothing_about_a_run(self):
        self.send_call(self.alice, "Mine alone").by(self.alice.http)
        for run in (self.ids_of(self.alice).run, str(uuid7()), "abc"):
            [frame] = frames_in(frame_call("unsubscribe", run_id=run).by(self.bob.http))
            self.assertEqual(frame, {"type": "unsubscribed", "id": "1", "run_id": run})
