"""A TCP proxy that damages a connection in one of the ways networks do."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass

from tests.chaos.wire import connect

KINDS = ("cut", "cut", "cut", "close", "close", "slow", "half-close", "black-hole")
DEADLINE = 60.0


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens after `after` bytes from the server; every read is delayed by `latency` seconds."""

    kind: str = "none"
    after: int = 0
    latency: float = 0.0


def some_fault(rng: random.Random, *, most: int) -> Fault:
    kind = rng.choice(KINDS)
    latency = rng.uniform(0.002, 0.02) if kind == "slow" else 0.0
    return Fault("cut" if kind == "slow" else kind, rng.randint(0, most), latency)


@contextlib.asynccontextmanager
async def door(target: int, fault: Fault) -> AsyncIterator[int]:
    """Yield a port that forwards to `target` on loopback, with `fault` on each connection made to it."""
    tasks: set[asyncio.Task[None]] = set()
    closed = False

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(DEADLINE):
                await _carry(reader, writer, target, fault)

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if closed:  # this client connected just before the proxy was closed
            writer.transport.abort()
            return
        task = asyncio.ensure_future(serve(reader, writer))
        tasks.add(task)
        # A callback, not a `finally`: a task that is cancelled before its first step never runs.
        task.add_done_callback(lambda _: writer.transport.abort())

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        closed = True
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: int, fault: Fault) -> None:
    inner_reader, inner_writer = await connect(target)
    up = asyncio.create_task(_copy(reader, inner_writer))
    try:
        left = fault.after if fault.kind != "none" else None
        while data := await inner_reader.read(4096):
            if fault.latency:
                await asyncio.sleep(fault.latency)
            writer.write(data if left is None else data[:left])
            if left is not None:
                left -= min(left, len(data))
                if not left:
                    break
            await writer.drain()
        if left == 0:
            await _spoil(fault.kind, writer, inner_writer)
        else:
            await writer.drain()
            writer.close()
            await writer.wait_closed()
    finally:
        # Abort first: if the proxy is closed meanwhile, the awaits below are cancelled.
        inner_writer.transport.abort()
        up.cancel()
        await asyncio.gather(up, return_exceptions=True)


async def _spoil(kind: str, writer: asyncio.StreamWriter, inner_writer: asyncio.StreamWriter) -> None:
    match kind:
        case "close":
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        case "half-close":
            # The service sees the connection end; the client keeps an open connection without data.
            inner_writer.write_eof()
            await asyncio.sleep(DEADLINE)
        case "black-hole":
            await asyncio.sleep(DEADLINE)
        case _:
            writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()
