"""Calls of the contract by websocket: the frames that answer are the body of a response, one a line.

How the service hangs up, where it does, is the last line.
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
# What a client says about itself, to be said in a handshake as well.
WHO = ("authorization", "x-api-key", "x-forwarded-for", "x-page-user")


@dataclass(frozen=True, slots=True)
class SocketCall(Call):
    """A call over a socket of its own, open from the call to the last frame that answers it."""

    def frames(self, client: httpx2.Client, headers: dict[str, str]) -> Generator[str, None, None]:
        """Yield the frames that answer, as lines, to the last."""
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
    """Return what `client` says about itself, and `headers` besides."""
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
