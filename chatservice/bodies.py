"""Reads the body of a request while it arrives: limited in size, without its content coding, large ones to disk.

Of large JSON, only the content that is embedded in it as base64 goes to disk (`embedded_bodies.py`).
"""

from __future__ import annotations

import asyncio
import io
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import IO, Any, Protocol

from django.conf import settings
from django.core.exceptions import RequestAborted
from django.urls import Resolver404, resolve

from chatservice import url_prefix
from chatservice.dialects.problems import CONTENT_CODINGS, UNKNOWN_CODING, BadRequest, too_large
from chatservice.embedded_bodies import BodySplitter
from files.embedded import EmbeddedContent
from files.storage import unnamed_draft
from foundation.threads import DaemonThreads

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Embedded = dict[str, EmbeddedContent]
CODINGS = ("gzip", "x-gzip", "deflate")
GZIP_OR_ZLIB = zlib.MAX_WBITS + 32  # zlib tells them apart by their first bytes
# A gzip body may be several ones, one after the other; each costs time even if it is empty.
MAX_MEMBERS = 100
# Bodies of views that take large ones go to disk beyond this.
SPOOL_BYTES = 1_048_576
# The rest of a form: its other fields, and the headers of its parts.
AROUND_FILES = 1_048_576

_threads = DaemonThreads(4, "bodies")


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


class Count(Protocol):
    """Counts what arrives; may raise to refuse it."""

    def __call__(self, size: int) -> None:
        """Count bytes in memory."""

    def spooled(self, size: int) -> None:
        """Count bytes that went from memory to disk."""


class Arriving:
    """A body while it arrives: in memory, and beyond SPOOL_BYTES on disk if its view takes large bodies.

    `splitter`, of a view that takes content, has the content that was embedded in the body.
    """

    def __init__(self, count: Count) -> None:
        self._count = count
        self._memory = io.BytesIO()
        self._disk: IO[bytes] | None = None
        self.splitter: BodySplitter | None = None
        self.spools = False
        self.size = 0

    async def write(self, chunk: bytes) -> None:
        self._count(len(chunk))
        if self.splitter is not None:
            await self._split(self.splitter.feed, chunk)
            return
        self.size += len(chunk)
        self._memory.write(chunk)
        if self.spools and self._memory.tell() > SPOOL_BYTES:
            await self._spool()

    async def split(self) -> None:
        """From now on, take embedded content out of the body, also of what has arrived already."""
        self.splitter = BodySplitter(unnamed_draft)
        arrived, self._memory, self.size = self._memory.getvalue(), io.BytesIO(), 0
        await self._split(self.splitter.feed, arrived)

    async def complete(self) -> IO[bytes]:
        """Return the whole body, to be read from its beginning."""
        if self.splitter is not None:
            await self._split(self.splitter.finish)
        if self._disk is None:
            self._memory.seek(0)
            return self._memory
        await self._spool()
        self._disk.seek(0)
        return self._disk

    async def _split(self, step: Callable[..., bytes], *data: bytes) -> None:
        assert self.splitter is not None
        before = self.splitter.waiting
        left = await asyncio.get_running_loop().run_in_executor(_threads, step, *data)
        self._count.spooled(sum(map(len, data)) + before - len(left) - self.splitter.waiting)
        self.size += len(left)
        self._memory.write(left)
        if 0 < settings.LIMIT_BODY_BYTES < self.size:
            raise too_large(beside=True)

    async def _spool(self) -> None:
        loop, size = asyncio.get_running_loop(), self._memory.tell()
        self._count.spooled(size)
        if self._disk is None:
            self._disk = await loop.run_in_executor(_threads, unnamed_draft)
        await loop.run_in_executor(_threads, self._disk.write, self._memory.getvalue())
        self._memory = io.BytesIO()

    def discard(self) -> None:
        if self._disk is not None:
            release(self._disk)
        if self.splitter is not None:
            _threads.submit(self.splitter.close)


def release(body: IO[bytes]) -> None:
    """Close a body. Closing a large file takes the disk a moment, so it is done in a thread."""
    if isinstance(body, io.BytesIO):
        body.close()
    else:
        _threads.submit(body.close)


async def read_bounded(scope: dict[str, Any], receive: Receive, count: Count) -> tuple[IO[bytes], Embedded]:
    """Return the decoded body, and the content that was embedded in it and which the caller has to close.

    Makes the headers of `scope` those of a body without a coding, with its length.

    A view that has a `body_limit`, the name of a setting, takes larger bodies than LIMIT_BODY_BYTES, as long as they
    have no coding. Raises BadRequest (400, 413, 415), RequestAborted, what `count` raises, and OSError if the disk is
    full.
    """
    codings = _codings(scope["headers"])
    limit = _Limit("LIMIT_BODY_BYTES")
    body = Arriving(count)
    inflater: Inflater | None = None
    arrived = 0
    try:
        for size in _lengths(scope["headers"]):
            limit = await _limit_for(size, limit, body, scope, codings)
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise RequestAborted
            chunk = message.get("body", b"")
            arrived += len(chunk)
            limit = await _limit_for(arrived, limit, body, scope, codings)
            if chunk and codings:
                inflater = inflater or _inflater(codings, limit.bytes)
                chunk = inflater.feed(chunk)
            await body.write(chunk)
            if not message.get("more_body", False):
                break
        if inflater is not None:
            inflater.finish()
        complete = await body.complete()
    except BaseException:
        body.discard()
        raise
    if inflater is not None or body.spools or body.splitter is not None:
        scope["headers"] = _headers_of_decoded(scope["headers"], body.size)
    return complete, body.splitter.embedded if body.splitter is not None else {}


class _Limit:
    """The size of a body, by the setting that says it. `around` is what a form has around the file that is limited."""

    def __init__(self, setting: str, *, around: int = 0) -> None:
        self.setting = setting
        self.bytes: int = getattr(settings, setting)
        if self.bytes:
            self.bytes += around


async def _limit_for(
    size: int, limit: _Limit, body: Arriving, scope: Mapping[str, Any], codings: Sequence[str]
) -> _Limit:
    """Return the limit for a body of at least `size` bytes, which may be its view's; raises BadRequest beyond it."""
    is_usual = limit.setting == "LIMIT_BODY_BYTES"
    if size > SPOOL_BYTES and is_usual and not codings and (setting := _views_limit(scope)):
        limit = _Limit(setting, around=AROUND_FILES)
        body.spools = setting == "LIMIT_FILE_BYTES"
    if 0 < limit.bytes < size:
        raise too_large(limit.setting)
    if limit.setting == "LIMIT_CONTENT_BODY_BYTES" and body.splitter is None:
        await body.split()
    return limit


def _views_limit(scope: Mapping[str, Any]) -> str:
    """Return the setting that limits the bodies of the view at this address; '' if it is the one for all."""
    try:
        found = resolve(url_prefix.without(scope["path"]).rstrip("/") or "/")
    except Resolver404:
        return ""
    view = getattr(found.func, "cls", None) or getattr(found.func, "view_class", None)
    setting: str = getattr(view, "body_limit", "")
    return setting


def _lengths(headers: list[tuple[bytes, bytes]]) -> list[int]:
    values = [value for name, value in headers if name == b"content-length"]
    if not all(value.isdigit() for value in values):
        raise too_large()
    return [int(value) for value in values]


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
