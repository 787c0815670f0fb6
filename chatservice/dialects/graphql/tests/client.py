"""A client of the GraphQL API for tests: by POST and by websocket."""

from __future__ import annotations

import json
from typing import Any

import httpx2
from websockets.exceptions import ConnectionClosed

from chatservice.testing import ApiUser, ServiceTestCase
from chatservice.testing.sockets import Socket

TODO = "{ id title completed createdAt }"
FOLLOW = """
    __typename runId cursor
    ... on AnswerStarted { conversationId messageId }
    ... on AnswerChunk { text }
    ... on AnswerResync { text }
    ... on AnswerComplete { message { id content status conversation { title } } }
    ... on AnswerError { code reason message { content status } }
"""
ANSWER = f"""
    subscription($c: String!, $m: String, $to: ID) {{
        answer(content: $c, model: $m, conversationId: $to) {{ {FOLLOW} }}
    }}
"""
FOLLOW_RUN = f"subscription($run: ID!, $at: String) {{ followRun(runId: $run, cursor: $at) {{ {FOLLOW} }} }}"
SEND = """
    mutation($content: String!, $to: ID, $after: ID, $model: String, $key: String) {
        sendMessage(content: $content, conversationId: $to, parentId: $after, model: $model, idempotencyKey: $key) {
            runId conversation { id title } question { id content } message { id content status }
        }
    }
"""


class GraphQLTestCase(ServiceTestCase):
    def post(self, http: httpx2.Client, query: str, **variables: Any) -> httpx2.Response:
        return http.post("/graphql", json={"query": query, "variables": variables})

    def data(self, query: str, *, by: Any = None, **variables: Any) -> dict[str, Any]:
        response = self.post((by or self.alice).http, query, **variables)
        self.assertEqual(response.status_code, 200, response.text)
        self.assertNotIn("errors", response.json(), response.text)
        return response.json()["data"]

    def code(self, query: str, *, by: Any = None, status: Any = 200, **variables: Any) -> str:
        """Return the code of the only error of `query`."""
        response = self.post((by or self.alice).http, query, **variables)
        return self.code_of(response, status)

    def code_of(self, response: httpx2.Response, status: int) -> str:
        self.assertEqual(response.status_code, status, response.text[:2000])
        self.assertEqual(response.headers["content-type"], "application/json")
        [error] = response.json()["errors"]
        self.assertIsInstance(error["message"], str)
        return error["extensions"]["code"]

    def send(self, content: str, *, by: Any = None, **variables: Any) -> dict[str, Any]:
        """Send a message without `parentId`: it is appended to the shown branch."""
        query = SEND if "after" in variables else SEND.replace("$after: ID, ", "").replace("parentId: $after, ", "")
        return self.data(query, by=by, content=content, **variables)["sendMessage"]

    def socket(self, api_user: ApiUser | None = None, *, init: bool = True) -> GraphQLSocket:
        headers = api_user.headers if api_user else {}
        return GraphQLSocket(self.service.url.replace("http", "ws") + "/graphql", headers=headers, init=init)


class GraphQLSocket(Socket):
    def __init__(self, url: str, *, headers: dict[str, str], init: bool) -> None:
        super().__init__(url, subprotocols=["graphql-transport-ws"], additional_headers=headers)
        self._init = init

    def __enter__(self) -> GraphQLSocket:
        super().__enter__()
        if self._init:
            self.say(type="connection_init")
            assert self.read() == {"type": "connection_ack"}
        return self

    def subscribe(self, name: str, query: str, **variables: Any) -> None:
        self.say(id=name, type="subscribe", payload={"query": query, "variables": variables})

    def until_over(self, name: str) -> list[dict[str, Any]]:
        """Return the frames of one operation, including its last one."""
        frames: list[dict[str, Any]] = []
        while not frames or frames[-1]["type"] == "next":
            frame = self.read()
            if frame.get("id") == name:
                frames.append(frame)
        return frames

    def events(self, name: str, field: str) -> list[dict[str, Any]]:
        """Return the events of a subscription that completes normally."""
        frames = self.until_over(name)
        assert frames[-1] == {"id": name, "type": "complete"}, frames[-1]
        for frame in frames[:-1]:
            assert "errors" not in frame["payload"], json.dumps(frame)
        return [frame["payload"]["data"][field] for frame in frames[:-1]]

    def hung_up(self) -> tuple[int, str]:
        """Read until the service closes the socket; return code and reason."""
        try:
            while True:
                self.read()
        except ConnectionClosed as closed:
            assert closed.rcvd is not None
            return closed.rcvd.code, closed.rcvd.reason
