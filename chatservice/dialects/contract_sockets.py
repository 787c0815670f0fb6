"""Calls of the contract by websocket: the frames of the answer form the body of a response, one per line.

If the service closes the socket, the close is the last line.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from websockets.exceptions import ConnectionClosed

from chatservice.dialects.contract import Call

LINES = "application/jsonl"
# Headers that identify a client; they are sent in the websocket handshake as well.
WHO = ("authorization", "x-api-key", "x-forwarded-for", "x-page-user")


@dataclass(frozen=True, slots=True)
class SocketCall(Call):
    """A call over a separate socket, which is open from the call to the last frame of the answer."""

    def frames(self, client: httpx2.Client, headers: dict[str, str]) -> Generator[str, None, None]:
        """Yield the frames of the answer as lines, up to the last."""
        raise NotImplementedError

    def by(self, client: httpx2.Client, **headers: str) -> httpx2.Response:
        lines = "\n".join(self.frames(client, headers))
        return httpx2.Response(200, content=lines.encode(), headers={"Content-Type": LINES})

    @contextmanager
    def opened_by(self, client: httpx2.Client) -> Iterator[Any]:
        lines = self.frames(client, {})
        try:
            yield Lines(lines)
        finally:
            lines.close()

    def url(self, client: httpx2.Client) -> str:
        return str(client.base_url).rstrip("/").replace("http", "ws", 1) + self.path


@dataclass(frozen=True, slots=True)
class Lines:
    lines: Generator[str, None, None]

    def iter_lines(self) -> Generator[str, None, None]:
        return self.lines


def identity(client: httpx2.Client, headers: dict[str, str]) -> dict[str, str]:
    """Return the identifying headers of `client`, overridden by `headers`."""
    said = httpx2.Headers(client.headers)
    said.update(headers)
    return {name: said[name] for name in WHO if name in said}


def line_of(frame: Any) -> str:
    return json.dumps(frame)


def closing_line(closed: ConnectionClosed) -> str:
    assert closed.rcvd is not None, "the service closed without a word"
    return line_of({"type": "close", "code": closed.rcvd.code, "reason": closed.rcvd.reason})


def frames_in(response: httpx2.Response) -> list[dict[str, Any]]:
    return [json.loads(line) for line in response.text.splitlines()]
