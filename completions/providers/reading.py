"""Reads an upstream's answer: no faster than the consumer stores it, and to the end of the body."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Self

import aiohttp
import httpx2
from openai import OpenAIError

from completions.exceptions import OutputLimit, UpstreamInvalid, UpstreamTruncated
from foundation.internals.aiohttp_reads import with_socket_paused

DRAIN_SECONDS: Final = 0.1  # to wait for the end of the body after [DONE], so that the connection can be used again
BROKEN = (OpenAIError, httpx2.HTTPError, httpx2.InvalidURL, aiohttp.ClientError, OSError, ValueError)

# Comments keep a connection alive, also before a body that is no event stream.
_BEFORE = re.compile(rb"(?:[\xef\xbb\xbf \t\r\n]+|:[^\r\n]*[\r\n])*+")
_CHUNK_LINE = re.compile(rb"\{[^\r\n]*\"delta\"[^\r\n]*\}[ \t]*[\r\n]")
_WHOLE = re.compile(rb"[{<]|\[\s*[{\[\]]")
_TELLING_BYTES: Final = 8  # enough for a bracket, a line break, an indent and what follows


@dataclass(frozen=True, slots=True)
class Answer:
    """A 2xx response of which the `first` bytes have been read from `reads`, enough to tell what it is.

    Servers send wrong media types, or none. So a body that begins like JSON or markup is read as a whole, and every
    other body as a stream, also one with a chunk a line: of a text without events, the first line is quoted.
    """

    response: httpx2.Response
    reads: AsyncIterator[bytes]
    first: bytes
    is_event_stream: bool

    @classmethod
    async def begun(cls, response: httpx2.Response, reads: AsyncIterator[bytes]) -> Self:
        """Read the beginning. Raises UpstreamInvalid, UpstreamTruncated."""
        if response.headers.get("content-encoding", "identity").lower() not in ("", "identity"):
            raise UpstreamInvalid()  # compression was not requested: a compressed body may be a decompression bomb
        first = looked_at = b""
        try:
            while looked_at[:1] in (b"", b":") or (looked_at.startswith(b"[") and len(looked_at) < _TELLING_BYTES):
                first += await anext(reads)
                if len(first) > 1 << 16:
                    break
                looked_at = _BEFORE.sub(b"", first, count=1)
        except StopAsyncIteration:
            pass
        except BROKEN:
            raise UpstreamTruncated() from None
        is_whole = _WHOLE.match(looked_at) and not _CHUNK_LINE.match(looked_at)
        return cls(response, reads, first, not is_whole)

    async def whole(self, limit: int) -> bytes:
        """Return the body. Raises UpstreamTruncated, and OutputLimit for more than `limit` bytes."""
        parts, size = [self.first], len(self.first)
        try:
            async for data in self.reads:
                size += len(data)
                if size > limit:
                    raise OutputLimit()
                parts.append(data)
        except BROKEN:
            raise UpstreamTruncated() from None
        return b"".join(parts)


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
