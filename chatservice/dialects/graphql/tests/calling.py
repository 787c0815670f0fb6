"""The GraphQL operations as calls of the contract: by POST, and subscriptions by websocket."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import httpx2
from websockets.exceptions import ConnectionClosed

from chatservice.dialects.contract import Call
from chatservice.dialects.contract_sockets import SocketCall, closing_line, identity, line_of
from chatservice.dialects.graphql.tests.client import GraphQLSocket

LAST = '{"id": "1", "type": "complete"}'


@dataclass(frozen=True, slots=True)
class Operation(Call):
    """A query or mutation. Its only field has the alias `it`; `$key` is the idempotency key."""

    def by(self, client: httpx2.Client, **headers: str) -> httpx2.Response:
        body = named(self.json, headers.pop("Idempotency-Key", None))
        return client.request(self.method, self.path, headers=headers, json=body)

    def names(self, text: str) -> bool:
        return text in self.json["variables"].values()


@dataclass(frozen=True, slots=True)
class Subscribed(SocketCall):
    """A subscription."""

    def frames(self, client: httpx2.Client, headers: dict[str, str]) -> Generator[str, None, None]:
        body = named(self.json, headers.pop("Idempotency-Key", None))
        with GraphQLSocket(self.url(client), headers=identity(client, headers), init=False) as socket:
            try:
                socket.say(type="connection_init")
                first = socket.read()
                assert first == {"type": "connection_ack"}, first
                socket.say(id="1", type="subscribe", payload=body)
                kind = "next"
                while kind == "next":
                    frame = socket.read()
                    kind = frame["type"]
                    yield line_of(frame)
            except ConnectionClosed as closed:
                yield closing_line(closed)

    def names(self, text: str) -> bool:
        return text in self.json["variables"].values()


def operation(query: str, **variables: Any) -> Operation:
    return Operation("POST", "/graphql", {"query": query, "variables": variables})


def subscription(query: str, **variables: Any) -> Subscribed:
    return Subscribed("POST", "/graphql", {"query": query, "variables": variables})


def named(body: dict[str, Any], key: str | None) -> dict[str, Any]:
    return body if key is None else {**body, "variables": {**body["variables"], "key": key}}
