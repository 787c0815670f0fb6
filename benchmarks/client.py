"""One HTTP/1.1 connection of the load generator: keep-alive, Content-Length and chunked bodies, nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import cast


class Answer:
    """The answer to one question, with the times of its arrival (perf_counter seconds)."""

    __slots__ = ("asked", "ended", "error", "first", "gaps", "last", "marker", "number", "parts", "reads", "status")

    def __init__(self, number: int) -> None:
        self.number = number
        self.marker = b"[%010d]" % number  # when the first token arrived
        self.asked = time.perf_counter()
        self.first = self.last = self.ended = 0.0
        self.status = 0
        self.error = ""
        self.reads = 0
        self.gaps: list[float] = []
        self.parts: list[bytes] = []


class Connection(asyncio.Protocol):
    """Asks one question at a time and passes each `Answer` to `on_answer`."""

    def __init__(self, host: str, port: int, path: str, key: str, on_answer: Callable[[Connection, Answer], None]):
        self.address = (host, port)
        self.head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {key}\r\n"
            "Content-Type: application/json\r\nAccept: */*\r\nContent-Length: "
        ).encode()
        self.on_answer = on_answer
        self.answer: Answer | None = None
        self.transport: asyncio.Transport | None = None
        self.waiting: tuple[int, bytes] | None = None  # sent once the old connection is closed
        self._reset()

    async def open(self) -> None:
        """Connect, or connect again."""
        await asyncio.get_running_loop().create_connection(lambda: self, *self.address)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's transport is not a subclass

    def ask(self, number: int, body: bytes) -> None:
        """Send question `number`; first reconnect if the server closed the connection."""
        if self.transport is None:
            self.reopening = asyncio.get_running_loop().create_task(self._reopen(number, body))
            return
        if self.transport.is_closing():
            self.waiting = (number, body)
            return
        self.answer = Answer(number)
        self.transport.write(self.head + b"%d\r\n\r\n" % len(body) + body)

    async def _reopen(self, number: int, body: bytes) -> None:
        try:
            await self.open()
        except OSError as problem:
            self.answer = Answer(number)
            self._finish(f"connect: {problem.strerror or type(problem).__name__}")
            return
        # the server accepts and closes at once: report an error instead of retrying for ever
        if self.transport is None:
            self.answer = Answer(number)
            self._finish("closed early")
        else:
            self.ask(number, body)

    def give_up(self) -> None:
        """End the current question as timed out."""
        if self.answer is not None:
            self._finish("timeout")
        if self.transport is not None:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self.answer is not None:
            self._finish("" if self.until_close and exc is None else "closed early")
        if self.waiting is not None:
            waiting, self.waiting = self.waiting, None
            self.ask(*waiting)

    # --- Reading a response ----------------------------------------------------------------------

    def _reset(self) -> None:
        self.rest = b""  # bytes that do not form a complete line yet
        self.in_head = True
        self.chunked = self.until_close = self.close_after = self.skip_line_end = False
        self.left = 0  # bytes still missing from the body or from the current chunk

    def data_received(self, data: bytes) -> None:
        answer = self.answer
        if answer is None:
            return  # no question is open: a late byte of a response that timed out
        now = time.perf_counter()
        if not answer.first and answer.marker in (data if not self.rest else self.rest + data):
            answer.first = answer.last = now
        elif answer.first and b"data:" in data:  # heartbeats do not count
            answer.gaps.append(now - answer.last)
            answer.last = now
        answer.reads += 1
        try:
            if self._feed(answer, data):
                self._finish("")
        except (ValueError, IndexError):
            self._finish("malformed HTTP")

    def _feed(self, answer: Answer, data: bytes) -> bool:
        """Process `data`; return True when the response is complete."""
        if self.rest:
            data, self.rest = self.rest + data, b""
        if self.in_head:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self.rest = data
                return False
            self._read_head(answer, data[:end].lower())
            data = data[end + 4 :]
        if self.chunked:
            return self._feed_chunks(answer, data)
        answer.parts.append(data)
        self.left -= len(data)
        return not self.until_close and self.left <= 0

    def _read_head(self, answer: Answer, head: bytes) -> None:
        answer.status = int(head[9:12])
        self.in_head = False
        self.chunked = b"\r\ntransfer-encoding: chunked" in head
        self.close_after = b"\r\nconnection: close" in head
        at = head.find(b"\r\ncontent-length:")
        if at >= 0:
            self.left = int(head[at + 17 :].split(b"\r\n", 1)[0])
        elif not self.chunked:
            self.until_close = True

    def _feed_chunks(self, answer: Answer, data: bytes) -> bool:
        at, end = 0, len(data)
        while True:
            if self.left:
                part = data[at : at + self.left]
                answer.parts.append(part)
                at += len(part)
                self.left -= len(part)
                if self.left:
                    return False
                self.skip_line_end = True
            if self.skip_line_end:
                if end - at < 2:
                    self.rest = data[at:]
                    return False
                at += 2
                self.skip_line_end = False
            line_end = data.find(b"\r\n", at)
            if line_end < 0:
                self.rest = data[at:]
                return False
            size = int(data[at:line_end].partition(b";")[0], 16)
            if not size:
                # Trailers may come before the blank line; without trailers it follows at once.
                if data.find(b"\r\n\r\n", line_end) >= 0:
                    return True
                self.rest = data[at:]
                return False
            at, self.left = line_end + 2, size

    def _finish(self, error: str) -> None:
        answer, self.answer = self.answer, None
        assert answer is not None
        answer.ended = time.perf_counter()
        answer.error = error
        if (error or self.close_after) and self.transport is not None:
            self.transport.close()
        self._reset()
        self.on_answer(self, answer)
