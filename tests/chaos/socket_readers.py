"""The same clients over websockets: the service's own protocol, and GraphQL subscriptions."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from chatservice.dialects import DIALECTS
from tests.chaos import wire
from tests.chaos.readers import HTTP_READERS, Disagreement, Reader
from tests.chaos.response_readers import RESPONSE_READERS

UNAVAILABLE = 4503
SHUTTING_DOWN = {"shutting_down", "storage_unavailable", "rate_limit_exceeded", "too_many_runs"}
EVENTS = """
    __typename runId cursor
    ... on AnswerChunk { text }
    ... on AnswerResync { text }
    ... on AnswerComplete { message { content status } }
    ... on AnswerError { code }
"""
ASK = f"""
    subscription($c: String!, $m: String, $k: String) {{
        answer(content: $c, model: $m, idempotencyKey: $k) {{ {EVENTS} }}
    }}
"""
FOLLOW = f"subscription($r: ID!, $at: String) {{ followRun(runId: $r, cursor: $at) {{ {EVENTS} }} }}"


@contextlib.asynccontextmanager
async def socket(port: int, path: str, secret: str, patience: float, **options: Any) -> AsyncIterator[ClientConnection]:
    """Open a socket; when the block ends, drop it without a close frame."""
    headers = {"Authorization": f"Bearer {secret}"}
    options = {"ping_interval": None, "max_size": None, "proxy": None, "compression": None, **options}
    try:
        link = await connect(
            f"ws://127.0.0.1:{port}{path}", additional_headers=headers, open_timeout=patience, **options
        )
    except (WebSocketException, TimeoutError, EOFError) as error:
        raise wire.Cut(type(error).__name__) from None
    try:
        yield link
    finally:
        link.transport.abort()
        with contextlib.suppress(WebSocketException, OSError):
            await link.wait_closed()


async def receive(link: ClientConnection, patience: float) -> dict[str, Any]:
    try:
        async with asyncio.timeout(patience):
            return json.loads(await link.recv())
    except ConnectionClosed as closed:
        if closed.rcvd is not None and closed.rcvd.code == UNAVAILABLE:
            raise wire.Refused(503, closed.rcvd.reason, {}) from None
        raise wire.Cut(str(closed)) from None
    except (WebSocketException, TimeoutError) as error:
        raise wire.Cut(type(error).__name__) from None


async def say(link: ClientConnection, **frame: Any) -> None:
    try:
        await link.send(json.dumps(frame))
    except WebSocketException as error:
        raise wire.Cut(type(error).__name__) from None


class SocketReader(Reader):
    name = dialect = "websocket"

    async def begin(self, port: int, patience: float) -> None:
        await self._talk(port, patience, type="send", content=self.prompt, model=self.model, client_id=self.key)

    async def resume(self, port: int, patience: float) -> None:
        frame = {"type": "subscribe", "run_id": self.run_id}
        if self.cursor:
            frame["cursor"] = self.cursor
        else:
            self.text = ""
        await self._talk(port, patience, **frame)

    async def _talk(self, port: int, patience: float, **frame: Any) -> None:
        async with socket(port, "/ws/chat", self.api_user.secret, patience) as link:
            await say(link, **frame)
            while not self.ended:
                self.take(await receive(link, patience))

    def take(self, frame: dict[str, Any]) -> None:
        data: Any = frame.get("data")
        if frame["type"] == "error" and "run_id" not in frame:
            raise wire.Refused(503 if data["code"] in SHUTTING_DOWN else 400, json.dumps(data), {})
        self.raw += repr(frame).encode()
        self.run_id, self.acknowledged = frame["run_id"], True
        match frame["type"]:
            case "ai_chunk":
                self.text += data
            case "resync":
                self.text = data
            case "ai_complete":
                self.finish(data["status"], data["content"])
            case "error":
                self.finish(f"error:{data['code']}")
        self.cursor = frame.get("cursor") or self.cursor


class GraphQLReader(Reader):
    dialect = "graphql"
    name = "graphql"

    async def begin(self, port: int, patience: float) -> None:
        await self._talk(port, patience, ASK, c=self.prompt, m=self.model, k=self.key)

    async def resume(self, port: int, patience: float) -> None:
        if not self.cursor:
            self.text = ""
        await self._talk(port, patience, FOLLOW, r=self.run_id, at=self.cursor or None)

    async def _talk(self, port: int, patience: float, query: str, **variables: Any) -> None:
        protocol = {"subprotocols": ["graphql-transport-ws"]}
        async with socket(port, "/graphql", self.api_user.secret, patience, **protocol) as link:
            await say(link, type="connection_init")
            if (await receive(link, patience))["type"] != "connection_ack":
                raise Disagreement("no acknowledgement")
            await say(link, type="subscribe", id="1", payload={"query": query, "variables": variables})
            while not self.ended:
                self.take(await receive(link, patience))

    def take(self, frame: dict[str, Any]) -> None:
        payload: Any = frame.get("payload")
        errors = payload if frame["type"] == "error" else (payload or {}).get("errors")
        if errors:
            code = errors[0].get("extensions", {}).get("code")
            raise wire.Refused(503 if code in SHUTTING_DOWN else 400, json.dumps(errors), {})
        if frame["type"] != "next":
            return
        self.raw += repr(frame).encode()
        [event] = payload["data"].values()
        self.run_id, self.acknowledged = event["runId"], True
        match event["__typename"]:
            case "AnswerChunk":
                self.text += event["text"]
            case "AnswerResync":
                self.text = event["text"]
            case "AnswerComplete":
                self.finish(event["message"]["status"].lower(), event["message"]["content"])
            case "AnswerError":
                self.finish(f"error:{event['code']}")
        self.cursor = event["cursor"]


SOCKET_READERS: tuple[type[Reader], ...] = tuple(
    each for each in (SocketReader, GraphQLReader) if each.dialect in DIALECTS
)
READERS = HTTP_READERS + RESPONSE_READERS + SOCKET_READERS
# Readers that can also follow, from a cursor, a run that another client began.
FOLLOWERS = tuple(
    each for each in READERS if each.name in ("chat_v1", "resources", "responses", "websocket", "graphql")
)
