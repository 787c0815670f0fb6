"""A websocket client for tests, and the test case that provides it."""

from __future__ import annotations

import json
from types import TracebackType
from typing import Any, Self

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from chatservice.testing import ApiUser, ServiceTestCase

Frame = dict[str, Any]


class Socket:
    """One connection. A read fails after `timeout` seconds without a frame."""

    def __init__(self, url: str, *, timeout: float = 45.0, **options: Any) -> None:
        self._timeout = timeout
        self._connect = connect(url, max_size=None, proxy=None, ping_interval=None, **options)

    def __enter__(self) -> Self:
        self.wire = self._connect.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._connect.__exit__(kind, error, _)

    def say(self, **frame: Any) -> None:
        self.raw(json.dumps(frame))

    def raw(self, frame: str | bytes) -> None:
        self.wire.send(frame)

    def read(self) -> Frame:
        return json.loads(self.wire.recv(self._timeout))

    def until(self, *kinds: str) -> list[Frame]:
        """Return all frames, including the first that has one of these types."""
        frames = [self.read()]
        while frames[-1]["type"] not in kinds:
            frames.append(self.read())
        return frames

    def until_end(self) -> list[Frame]:
        """Return all frames, including a run's terminal one."""
        frames = [self.read()]
        while not (frames[-1]["type"] in ("ai_complete", "error") and "run_id" in frames[-1]):
            frames.append(self.read())
        return frames

    def ask(self, content: str, **fields: Any) -> list[Frame]:
        self.say(type="send", content=content, **fields)
        return self.until_end()

    def expect_silence(self) -> None:
        """Send a ping; fail if anything other than its pong arrives."""
        self.say(type="ping", id="silence?")
        assert self.read() == {"type": "pong", "id": "silence?"}

    def closed(self) -> tuple[list[Frame], int]:
        """Read until the server closes; return the frames before that, and the close code."""
        frames = []
        try:
            while True:
                frames.append(self.read())
        except ConnectionClosed as closed:
            assert closed.rcvd is not None, "the server closed without a word"
            return frames, closed.rcvd.code


class SocketTestCase(ServiceTestCase):
    def socket(self, api_user: ApiUser | None = None, **options: Any) -> Socket:
        """Open a socket to the shared service, with the key of `api_user` in its header."""
        if api_user is not None:
            options["additional_headers"] = {**api_user.headers, **options.get("additional_headers", {})}
        return Socket(self.service.websocket_url, **options)
