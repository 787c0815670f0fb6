"""The contract of every dialect, in the calls of its two documents."""

from __future__ import annotations

import json
from typing import Any

import httpx2

from chatservice.dialects import contract_refusals
from chatservice.dialects.contract import Call, Ids, Streamed
from chatservice.testing import ApiUser, sse_data
from files.public_ids import public_id
from foundation.ids import uuid7

WRONG_SEARCHES = (
    *("", "q=", "q=%20", "q=%00", f"q={'x' * 1001}", "q=x&mode=fast", "q=x&limit=0", "q=x&limit=101", "q=x&cursor=x"),
    *("q=x&role=king", "q=x&since=soon", "q=x&until=2026-02-30", "q=x&conversation_id=x", "q=x&archived=1"),
)


class ResourcesContractTest(contract_refusals.DialectContract):
    dialect = "resources"

    def setUp(self) -> None:
        super().setUp()
        # Here a caller without a key is a guest, unless the request shows that it comes from another site.
        self.guest.headers["X-Forwarded-For"] = "203.0.113.7"

    def create_call(self, title: str) -> Call:
        return Call("POST", "/conversations", {"title": title})

    def list_call(self, *, page: int, limit: int) -> Call:
        return Call("GET", f"/conversations?page={page}&limit={limit}")

    def delete_call(self, conversation: str) -> Call:
        return Call("DELETE", f"/conversations/{conversation}")

    def cancel_call(self, ids: Ids) -> Call:
        return Call("POST", f"/runs/{ids.run}/cancel")

    def send_call(self, api_user: ApiUser, text: str, *, model: str = "default") -> Call:
        return Call("POST", "/conversations/start", {"user_id": "123", "message": text, "model": model})

    def stream_call(self, api_user: ApiUser, text: str, *, model: str = "default") -> Call:
        path = f"/conversations/{self.created_id(self.create_call('').by(api_user.http))}"
        said = api_user.http.post(f"{path}/messages", json={"role": "user", "content": text})
        self.assertEqual(said.status_code, 201, said.text)
        return Call("POST", f"{path}/messages:complete", {"stream": True, "model": model})

    def files_call(self, api_user: ApiUser, text: str, file_id: str) -> Call:
        call = self.send_call(api_user, text, model="fake/ok")
        return Call(call.method, call.path, {**call.json, "file_ids": [file_id]})

    def created_id(self, response: httpx2.Response) -> str:
        return response.json()["id"]

    def listed(self, response: httpx2.Response) -> tuple[list[str], int]:
        return [row["id"] for row in response.json()], int(response.headers["x-total-count"])

    def answer_of(self, response: httpx2.Response) -> str:
        return response.json()["reply"]

    def streamed(self, body: str) -> Streamed:
        *lines, last = sse_data(body)
        self.assertEqual((last, "[DONE]" in lines), ("[DONE]", False))
        text, code, ends = "", "", 0
        for line in lines:
            event = json.loads(line)
            if error := event.get("error"):
                code, ends = error["code"], ends + 1
                continue
            [choice] = event["choices"]
            self.assertEqual((set(choice), choice["index"]), ({"finish_reason", "index", "delta"}, 0))
            self.assertEqual(choice["delta"]["role"], "assistant")
            text += choice["delta"]["content"]
            ends += choice["finish_reason"] is not None
        return Streamed(text, ends, code)

    def error_code(self, response: httpx2.Response) -> str:
        body = response.json()
        self.assertEqual(set(body), {"error"})
        self.assertLessEqual({"code", "message", "request_id"}, set(body["error"]))
        self.assertLessEqual(set(body["error"]), {"code", "message", "details", "request_id"})
        self.assertEqual(body["error"]["request_id"], response.headers["x-request-id"])
        self.assertTrue(isinstance(body["error"]["message"], str) and body["error"]["message"])
        return body["error"]["code"]

    def calls_with(self, ids: Ids) -> list[Call]:
        path, run = f"/conversations/{ids.conversation}", f"/runs/{ids.run}"
        said = {"role": "user", "content": "Let me in"}
        return [
            Call("GET", path),
            Call("PUT", path, {"title": "Mine now"}),
            Call("PATCH", path, {"title": "Mine now"}),
            Call("GET", f"{path}/messages"),
            Call("POST", f"{path}/messages", said),
            Call("GET", f"{path}/messages/1"),
            Call("PUT", f"{path}/messages/1", said),
            Call("PATCH", f"{path}/messages/1", {"content": "Let me in"}),
            Call("DELETE", f"{path}/messages/1"),
            Call("POST", f"{path}/messages:complete", {"stream": False}),
            Call("POST", f"{path}/messages:complete", {"stream": True}),
            Call("POST", f"{path}/message", {"message": "Let me in"}),
            Call("DELETE", path),
            Call("GET", run),
            Call("GET", f"{run}/stream"),
            Call("POST", f"{run}/cancel"),
        ]

    def wrong_calls(self) -> list[Call]:
        self.send_call(self.alice, "Something to change").by(self.alice.http)
        ids = self.ids_of(self.alice)
        path, run = f"/conversations/{ids.conversation}", ids.run
        nothing: list[Any] = [None, 5, True, [], {}, ["x"]]
        names: list[Any] = [[], {}, "x" * 201]
        file_ids: list[Any] = [5, "x", True, {}, [5], [None], [[]], ["file-abc"], ["file-abc"] * 21]
        booleans: list[Any] = [None, "true", 1, [], {}]
        texts = [*nothing, "", " \n", "x" * 262_145]
        roles: list[Any] = [None, 5, [], {}, "", "admin", "USER", "tool"]
        models = [*nothing, "", "x" * 201]
        titles = [*nothing, "x" * 201]
        cursors = ("x", "0", f"{run}.0.0", f"{'0' * 32}.1.1", f"{run.replace('-', '')}.-1.0", "%00", "a" * 500)
        pages = ("page=0", "page=-1", "page=x", "page=1.5", f"page={2**64}", "limit=0", "limit=101", "limit=x")
        listings = ("/conversations?", "/users?", f"{path}/messages?", f"/users/{self.alice.user.pk}/conversations?")
        return [
            Call("POST", "/conversations/start", {"user_id": "123"}),
            *(Call("POST", "/conversations/start", {"user_id": "1", "message": text}) for text in texts),
            *(Call("POST", "/conversations/start", {"user_id": who, "message": "x"}) for who in names),
            *(Call("POST", f"{path}/message", {"message": text}) for text in texts),
            *(Call("POST", f"{path}/message", {"message": "x", "model": model}) for model in models),
            *(Call("POST", f"{path}/message", {"message": "x", "file_ids": ids}) for ids in file_ids),
            *(Call("POST", f"{path}/messages", {"role": "user", "content": "x", "file_ids": ids}) for ids in file_ids),
            *(Call("PATCH", f"{path}/messages/1", {"content": "x", "file_ids": ids}) for ids in file_ids),
            Call("PATCH", f"{path}/messages/2", {"content": "x", "file_ids": [public_id(uuid7())]}),
            *(Call("POST", f"{path}/messages", {"role": "user", "content": text}) for text in texts),
            *(Call("POST", f"{path}/messages", {"role": role, "content": "x"}) for role in roles),
            *(Call("PATCH", f"{path}/messages/1", {"content": text}) for text in texts),
            *(Call("PUT", f"{path}/messages/1", {"role": role, "content": "x"}) for role in [*roles, "assistant"]),
            *(Call("POST", f"{path}/messages:complete", {"stream": value}) for value in booleans),
            *(Call("POST", f"{path}/messages:complete", {"model": model}) for model in models),
            *(Call("POST", "/conversations", {"title": title}) for title in titles),
            *(Call("PATCH", path, {"title": title}) for title in titles),
            Call("PUT", path, {}),
            Call("PATCH", path, {"user_id": str(self.bob.user.pk)}),
            *(Call("GET", f"/runs/{run}/stream", headers={"Last-Event-ID": cursor}) for cursor in cursors),
            *(Call("GET", f"/runs/{run}/stream?after={cursor}") for cursor in cursors),
            *(Call("GET", f"{listing}{page}") for listing in listings for page in pages),
            *(Call("GET", f"/search?{query}") for query in WRONG_SEARCHES),
            *(Call("POST", "/users", {"username": name, "password": "long enough 1"}) for name in [*titles, "a b", ""]),
            *(Call("POST", "/users", {"username": "new", "password": word}) for word in [*nothing, "", "short"]),
            Call("POST", "/users", {"username": "new", "password": "x" * 4097}),
        ]
