"""Reading an upstream's answer off the socket: raw, and no faster than there is use for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Final, cast

import aiohttp
import httpx2
from openai import OpenAIError

DRAIN_SECONDS: Final = 0.1  # for the end of the body after [DONE], so that the connection can be used again
BROKEN = (OpenAIError, httpx2.HTTPError, httpx2.InvalidURL, aiohttp.ClientError, OSError, ValueError)


def reads_from(response: httpx2.Response) -> AsyncGenerator[bytes, None]:
    """What each read of the socket brings; through the response it would pass four more generators."""
    answer = _aiohttp_answer(response)
    if answer is None:
        return cast(AsyncGenerator[bytes, None], aiter(cast(httpx2.AsyncByteStream, response.stream)))
    return _reads_of(answer)


async def _reads_of(answer: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    while data := await answer.content.readany():
        yield data


def _aiohttp_answer(response: httpx2.Response) -> aiohttp.ClientResponse | None:
    """Return what is behind the response; None should the client's library change."""
    return getattr(getattr(response.stream, "_stream", None), "_aiohttp_response", None)


def throttled(
    response: httpx2.Response, ready: Callable[[], Awaitable[None]] | None
) -> Callable[[], Awaitable[None]] | None:
    """Return `ready` with the socket left alone while it waits.

    A model sends each token in a packet of its own. Left in the kernel until there is use for them,
    they come in one read: with hundreds of streams that is most of the cost of relaying.
    """
    if ready is None:
        return None
    answer = _aiohttp_answer(response)
    protocol = getattr(getattr(answer, "connection", None), "protocol", None)
    if answer is None or protocol is None:
        return ready

    async def wait() -> None:
        # All there, or broken off: aiohttp has nothing to pause, and the connection may be another run's by now.
        if answer.content.is_eof() or answer.content.exception() is not None or not protocol.connected:
            await ready()
            return
        protocol.pause_reading()
        try:
            await ready()
        finally:
            protocol.resume_reading()

    return wait


async def drain(reads: AsyncIterator[bytes]) -> None:
    """Read to the end of a finished body: a connection that was not read to its end is closed."""
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            for _ in range(4):
                await anext(reads)
    except (StopAsyncIteration, TimeoutError, *BROKEN):
        pass
