"""Reads an upstream's answer: no faster than the consumer stores it, and to the end of the body."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import aiohttp
import httpx2
from openai import OpenAIError

from foundation.internals.aiohttp_reads import with_socket_paused

DRAIN_SECONDS: Final = 0.1  # to wait for the end of the body after [DONE], so that the connection can be used again
BROKEN = (OpenAIError, httpx2.HTTPError, httpx2.InvalidURL, aiohttp.ClientError, OSError, ValueError)


def throttled(
    response: httpx2.Response, ready: Callable[[], Awaitable[None]] | None
) -> Callable[[], Awaitable[None]] | None:
    """Return a `ready` during which nothing is read from the socket.

    A model sends each token in its own packet. If the packets stay in the kernel until they are wanted, one read
    returns many of them.
    """
    return None if ready is None else with_socket_paused(response, ready)


async def drain(reads: AsyncIterator[bytes]) -> None:
    """Read to the end of a finished body; otherwise the connection would have to be closed."""
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            for _ in range(4):
                await anext(reads)
    except (StopAsyncIteration, TimeoutError, *BROKEN):
        pass
