"""Reads directly from the aiohttp response behind an httpx2 one, and pauses its socket.

Measured with 200 answers at 20 ms a token: a token cost 32 µs of CPU through the client's response, 30 from aiohttp's
stream, and 28 with the socket paused in between (`python -m benchmarks.internals --only reads`). aiohttp 3.14 pauses
its parser together with the socket: of the waiting data, the first chunk comes in one read and all the others in the
next.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import cast

import aiohttp
import httpx2


def answer_behind(response: httpx2.Response) -> aiohttp.ClientResponse | None:
    """Return aiohttp's response behind an httpx2 one; None if the client library has changed."""
    return getattr(getattr(response.stream, "_stream", None), "_aiohttp_response", None)


def reads_from(response: httpx2.Response) -> AsyncGenerator[bytes, None]:
    """Yield the data of each read of the socket, without the four generators between it and the response."""
    answer = answer_behind(response)
    if answer is None:
        return cast(AsyncGenerator[bytes, None], aiter(cast(httpx2.AsyncByteStream, response.stream)))
    return _reads_of(answer)


async def _reads_of(answer: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    while data := await answer.content.readany():
        yield data


def with_socket_paused(
    response: httpx2.Response, ready: Callable[[], Awaitable[None]]
) -> Callable[[], Awaitable[None]]:
    """Return `ready` with the response's socket paused while it waits, or `ready` itself if pausing is not possible."""
    answer = answer_behind(response)
    protocol = getattr(getattr(answer, "connection", None), "protocol", None)
    if answer is None or protocol is None:
        return ready

    async def wait() -> None:
        # Complete or broken off: there is nothing to pause, and the connection may already serve another run.
        if answer.content.is_eof() or answer.content.exception() is not None or not protocol.connected:
            await ready()
            return
        protocol.pause_reading()
        try:
            await ready()
        finally:
            protocol.resume_reading()

    return wait
