"""A mock OpenAI server, faster than anything under test: `python -m benchmarks.upstream --port 9000`.

The model's name says how it answers: `flood-200` is 200 tokens at once, `noisy-200` the same with OpenAI's padding in
every chunk, `paced-20ms-400` one token every 20 ms.
`GET /bench/stats` reports how late the pacing was, so that a slow mock is not blamed on a competitor.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
from collections.abc import Callable
from typing import cast

import uvloop

from benchmarks import wire

MAX_BODY = 4 * 1024 * 1024


class Stream:
    """One paced answer: the frames still to be written, and the transport."""

    __slots__ = ("at", "frames", "number", "on_end", "transport")

    def __init__(
        self, transport: asyncio.WriteTransport, asked: wire.Asked, on_end: Callable[[], None], at: int = 0
    ) -> None:
        self.transport = transport
        self.frames = wire.frames(asked.model, asked.tokens, asked.usage)
        self.number = asked.number
        self.on_end = on_end
        self.at = at

    def start(self) -> None:
        """Write the response head, the role and the first token."""
        self.transport.write(wire.STREAM_HEAD + self._next(2))

    def step(self) -> bool:
        """Write the next token, and after the last one the end of the answer. Return False when done."""
        # Frames 1..n are tokens; finish, usage and [DONE] follow the last token at once, as from a real model.
        last = self.at >= len(self.frames) - 3
        self.transport.write(self._next(len(self.frames) if last else 1))
        if last:
            self.on_end()
        return not last

    def _next(self, count: int) -> bytes:
        written = b"".join(self.frames[self.at : self.at + count]).replace(wire.PLACEHOLDER, self.number)
        self.at += count
        return written


class Wheel:
    """One timer for all streams of one pace: a slot is a millisecond, and a turn through all slots is one interval."""

    def __init__(self, interval: int) -> None:
        self.slots: list[list[Stream]] = [[] for _ in range(interval)]
        self.loop = asyncio.get_running_loop()
        self.began = 0.0
        self.cursor = 0
        self.live = 0
        self.late = 0.0  # the worst delay in seconds since the last query

    def add(self, stream: Stream) -> None:
        """Step `stream` once per turn from now on."""
        if not self.live:
            self.began, self.cursor = self.loop.time(), 0
            self.loop.call_later(0.001, self._tick)
        self.live += 1
        self.slots[self.cursor % len(self.slots)].append(stream)

    def _tick(self) -> None:
        passed = self.loop.time() - self.began
        self.late = max(self.late, passed - (self.cursor + 1) / 1000)
        while self.cursor < int(passed * 1000):
            self.cursor += 1
            slot = self.cursor % len(self.slots)
            if self.slots[slot]:
                going = [s for s in self.slots[slot] if not s.transport.is_closing() and s.step()]
                self.live -= len(self.slots[slot]) - len(going)
                self.slots[slot] = going
        if self.live:
            self.loop.call_later(0.001, self._tick)


class Upstream(asyncio.Protocol):
    """One connection: HTTP/1.1 with keep-alive, bodies by Content-Length."""

    wheels: dict[int, Wheel] = {}

    def __init__(self) -> None:
        self.buffer = b""
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.WriteTransport", transport)  # uvloop's transport is not a subclass

    def data_received(self, data: bytes) -> None:
        self.buffer = self.buffer + data if self.buffer else data
        while not self.busy and self._one_request():
            pass

    def _one_request(self) -> bool:
        buffer = self.buffer
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = buffer[:end].lower()
        at = head.find(b"\r\ncontent-length:")
        stop = head.find(b"\r\n", at + 17)
        length = int(head[at + 17 : stop if stop > 0 else None]) if at >= 0 else 0
        if length > MAX_BODY or b"\r\ntransfer-encoding:" in head:
            self.transport.close()
            return False
        total = end + 4 + length
        if len(buffer) < total:
            return False
        self.buffer = buffer[total:]
        if head.startswith(b"post /v1/chat/completions"):
            self._answer(buffer[end + 4 : total])
        elif head.startswith(b"get /v1/models "):
            self.transport.write(wire.json_response(wire.models_body()))
        elif head.startswith(b"get /bench/stats"):
            self.transport.write(wire.json_response(self._stats()))
        else:
            self.transport.write(wire.NOT_FOUND)
        return bool(self.buffer)

    def _answer(self, body: bytes) -> None:
        asked = wire.read_request(body)
        if asked is None:
            self.transport.write(wire.NOT_FOUND)
        elif not asked.stream:
            self.transport.write(asked.number.join(wire.whole_answer(asked.model, asked.tokens)))
        elif not asked.interval:
            self.transport.write(asked.number.join(wire.whole_stream(asked.model, asked.tokens, asked.usage)))
        else:
            self.busy = True
            stream = Stream(self.transport, asked, self._ended)
            stream.start()
            self.wheels.setdefault(asked.interval, Wheel(asked.interval)).add(stream)

    def _ended(self) -> None:
        self.busy = False
        if self.buffer:
            self.data_received(b"")

    def _stats(self) -> bytes:
        live = sum(wheel.live for wheel in self.wheels.values())
        late = max((wheel.late for wheel in self.wheels.values()), default=0.0)
        for wheel in self.wheels.values():
            wheel.late = 0.0
        return json.dumps({"live": live, "late_ms": round(late * 1000, 1)}).encode()


async def serve(port: int) -> None:
    """Serve on loopback until the process is stopped."""
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port, backlog=4096)
    gc.freeze()  # objects that exist now live until the end, so collections stay short
    async with server:
        await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
