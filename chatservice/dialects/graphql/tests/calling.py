"""The graph's operations as calls of the contract: by POST, and by websocket as a body of one frame a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from websockets.exceptions import ConnectionClosed

from chatservice.dialects.contract import Call
from chatservice.dialects.graphql.tests.client import GraphQLSocket

LINES = "application/jsonl"
LAST = '{"id": "1", "type": "complete"}'
# What a client says about itself, to be said in a handshake as well.
WHO = ("authorization", "x-api-key", "x-forwarded-for")


@dataclass(frozen=True, slots=True)
class Operation(Call):
    """A query or mutation. The result's one field is named `it`; `$key` is the name of the request."""

    def by(self, client: httpx2.Client, **headers: str) -> httpx2.Response:
        body = named(self.json, headers.pop("Idempotency-Key", None))
        return client.request(self.method, self.path, headers=headers, json=body)

    def names(self, text: str) -> bool:
        return text in self.json["variables"].values()


@dataclass(frozen=True, slots=True)
class Subscribed(Operation):
    """A subscription. How the service hangs up is its last line."""

    def by(self, client: httpx2.Client, **headers: str) -> httpx2.Response:
        body = named(self.json, headers.pop("Idempotency-Key", None))
        lines = "\n".join(followed(client, body, headers))
        return httpx2.Response(200, content=lines.encode(), headers={"Content-Type": LINES})

    @contextmanager
    def opened_by(self, client: httpx2.Client) -> Iterator[Any]:
        lines = followed(client, self.json, {})
        try:
            yield Lines(lines)
        finally:
            lines.close()


@dataclass(frozen=True, slots=True)
class Lines:
    lines: Any

    def iter_lines(self) -> Any:
        return self.lines


def operation(query: str, **variables: Any) -> Operation:
    return Operation("POST", "/graphql", {"query": query, "variables": variables})


def subscription(query: str, **variables: Any) -> Subscribed:
    return Subscribed("POST", "/graphql", {"query": query, "variables": variables})


def named(body: dict[str, Any], key: str | None) -> dict[str, Any]:
    return body if key is None else {**body, "variables": {**body["variables"], "key": key}}


def followed(client: httpx2.Client, body: dict[str, Any], headers: dict[str, str]) -> Any:
    """Yield the frames that answer a subscription, as lines, to its last."""
    url = str(client.base_url).rstrip("/").replace("http", "ws", 1) + "/graphql"
    said = httpx2.Headers(client.headers)
    said.update(headers)
    who = {name: said[name] for name in WHO if name in said}
    with GraphQLSocket(url, headers=who, init=False) as socket:
        try:
            socket.say(type="connection_init")
            first = socket.read()
            assert first == {"type": "connection_ack"}, first
            socket.say(id="1", type="subscribe", payload=body)
            kind = "next"
            while kind == "next":
                frame = socket.read()
                kind = frame["type"]
                yield json.dumps(frame, ensure_ascii=False)
        except ConnectionClosed as closed:
            assert closed.rcvd is not None, "the service closed without a word"
            yield json.dumps({"type": "close", "code": closed.rcvd.code, "reason": closed.rcvd.reason})
