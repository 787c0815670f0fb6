"""Websocket frames as calls of the contract."""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import httpx2
from websockets.exceptions import ConnectionClosed

from chatservice.dialects.contract_sockets import SocketCall, closing_line, identity, line_of
from chatservice.testing.sockets import Socket

PATH = "/ws/chat"
IDS = ("conversation_id", "parent_id", "message_id", "run_id")
OPENING = ("conversation_created", "user_message", "subscribed")
LAST = ("ai_complete", "error", "idle", "stopping", "unsubscribed", "pong")


@dataclass(frozen=True, slots=True)
class FrameCall(SocketCall):
    """One frame; an Idempotency-Key becomes its `client_id`.

    With `waits`, only the last frame of the answer is returned. `raw` is sent instead of the frame: as a binary
    message, or as text with `is_text`.
    """

    waits: bool = False
    raw: bytes | None = None
    is_text: bool = True

    def frames(self, client: httpx2.Client, headers: dict[str, str]) -> Generator[str, None, None]:
        sent = self.json
        if "Idempotency-Key" in headers:
            sent = {**sent, "client_id": headers["Idempotency-Key"]}
        said = identity(client, headers)
        # Browsers cannot set headers on a websocket, so a page names its user in a subprotocol.
        page_user = said.pop("x-page-user", None)
        offered = ["chat.v1", f"user.{page_user}"] if page_user else None
        with Socket(self.url(client), additional_headers=said, subprotocols=offered) as socket:
            try:
                self._send(socket, sent)
                kind = ""
                while kind not in LAST:
                    frame = socket.read()
                    kind = frame["type"]
                    if kind in LAST or not self.waits:
                        yield line_of(frame)
                if kind == "error" and "run_id" not in frame:
                    # After a refusal the socket stays open, unless the service closes it.
                    socket.expect_silence()
            except ConnectionClosed as closed:
                yield closing_line(closed)

    def names(self, text: str) -> bool:
        return text in {value for name, value in self.json.items() if name in IDS}

    def _send(self, socket: Socket, sent: Any) -> None:
        message = json.dumps(sent).encode() if self.raw is None else self.raw
        try:
            socket.wire.send(message, text=self.is_text)
        except ConnectionClosed:
            pass  # frames that the service sent before can still be read


def frame_call(kind: str, *, waits: bool = False, **fields: Any) -> FrameCall:
    return FrameCall("GET", PATH, {"type": kind, "id": "1", **fields}, waits=waits)
