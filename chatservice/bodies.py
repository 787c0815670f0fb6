"""Reads the body of a request while it arrives: limited in size, and without its content coding."""

from __future__ import annotations

import io
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestAborted

from chatservice.dialects.problems import CONTENT_CODINGS, UNKNOWN_CODING, BadRequest, too_large

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
CODINGS = ("gzip", "x-gzip", "deflate")
GZIP_OR_ZLIB = zlib.MAX_WBITS + 32  # zlib tells them apart by their first bytes
# A gzip body may be several ones, one after the other; each costs time even if it is empty.
MAX_MEMBERS = 100


class Inflater:
    """Decodes a gzip or deflate body piece by piece, into at most `limit` bytes (0: any number)."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._members = 1
        self._decoder = zlib.decompressobj(GZIP_OR_ZLIB)

    def feed(self, data: bytes) -> bytes:
        """Return what `data` adds to the body; raises BadRequest if it is broken or too large."""
        found = []
        while data:
            if self._decoder.eof:
                self._next_member()
            try:
                piece = self._decoder.decompress(data, self._limit - self._size + 1 if self._limit else 0)
            except zlib.error as error:
                raise _broken() from error
            self._size += len(piece)
            if self._limit and self._size > self._limit:
                raise too_large()
            found.append(piece)
            data = self._decoder.unused_data
        return b"".join(found)

    def finish(self) -> None:
        """Raise BadRequest if the body ended too early."""
        if not self._decoder.eof:
            raise _broken()

    def _next_member(self) -> None:
        self._members += 1
        if self._members > MAX_MEMBERS:
            raise _broken()
        self._decoder = zlib.decompressobj(GZIP_OR_ZLIB)


def _broken() -> BadRequest:
    return BadRequest("The body is not what its Content-Encoding says.", code="invalid_content_encoding")


async def read_bounded(scope: dict[str, Any], receive: Receive, count: Callable[[int], None]) -> io.BytesIO:
    """Return the decoded body, and make the headers of `scope` those of a body without a coding.

    `count` is called with the number of bytes that each part takes in memory. Raises BadRequest (400, 413, 415) and
    RequestAborted.
    """
    limit = settings.LIMIT_BODY_BYTES
    for name, value in scope["headers"]:
        if name == b"content-length" and (not value.isdigit() or 0 < limit < int(value)):
            raise too_large()
    codings = _codings(scope["headers"])
    inflater: Inflater | None = None
    body = io.BytesIO()
    arrived = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestAborted
        chunk = message.get("body", b"")
        arrived += len(chunk)
        if 0 < limit < arrived:
            raise too_large()
        if chunk and codings:
            inflater = inflater or _inflater(codings, limit)
            chunk = inflater.feed(chunk)
        count(len(chunk))
        body.write(chunk)
        if not message.get("more_body", False):
            break
    if inflater is not None:
        inflater.finish()
        scope["headers"] = _headers_of_decoded(scope["headers"], body.tell())
    body.seek(0)
    return body


def _codings(headers: list[tuple[bytes, bytes]]) -> list[str]:
    """Return the names in Content-Encoding, without those that mean nothing."""
    sent = b",".join(value for name, value in headers if name == b"content-encoding").decode("latin1")
    return [coding for each in sent.split(",") if (coding := each.strip().lower()) not in ("", "identity")]


def _inflater(codings: list[str], limit: int) -> Inflater:
    """Return what decodes the body; raises BadRequest for a coding that is not known, and for several."""
    if len(codings) > 1 or codings[0] not in CODINGS:
        message = f"Send the body as it is, or encoded once: {CONTENT_CODINGS}."
        raise BadRequest(message, code=UNKNOWN_CODING, status=415)
    return Inflater(limit)


def _headers_of_decoded(headers: list[tuple[bytes, bytes]], size: int) -> list[tuple[bytes, bytes]]:
    others = [each for each in headers if each[0] not in (b"content-encoding", b"content-length")]
    return [*others, (b"content-length", str(size).encode())]
