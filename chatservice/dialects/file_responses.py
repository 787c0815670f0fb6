"""Responds with the content of a file, whole or in part, so that no browser runs it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from typing import IO, Any

from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.utils.http import content_disposition_header

from chatservice.dialects.base import problem_response
from chatservice.dialects.problems import Problem
from files.media_types import TEXT
from files.models import File
from files.services import open_file
from files.threads import in_file_thread

PIECE_BYTES = 262_144
RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})\Z")
POLICY = "sandbox; default-src 'none'"


async def file_response(request: HttpRequest, file: File, render: Callable[[Problem], Any]) -> HttpResponseBase:
    """Return the content, or the part that a Range header asks for; raises ContentMissing."""
    etag = f'"{file.sha256}"'
    part = _range_of(request, file.size, etag)
    if part is not None and part.start >= file.size:
        problem = Problem(416, "range_not_satisfiable", f"The file has {file.size} bytes.")
        response: HttpResponseBase = problem_response(problem, render)
        response.headers["Content-Range"] = f"bytes */{file.size}"
        return response
    sent = part or range(file.size)
    content = await in_file_thread(lambda: open_file(file=file))
    response = StreamingHttpResponse(
        Pieces(content, sent),
        status=200 if part is None else 206,
        content_type=f"{TEXT}; charset=utf-8" if file.media_type == TEXT else file.media_type,
    )
    response.headers["Content-Length"] = str(len(sent))
    response.headers["Accept-Ranges"] = "bytes"
    response.headers["ETag"] = etag
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = POLICY
    if disposition := content_disposition_header(as_attachment=True, filename=file.name):
        response.headers["Content-Disposition"] = disposition
    if part is not None:
        response.headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{file.size}"
    return response


class Pieces:
    """A part of a file, read a piece at a time in a thread. It is closed with the response."""

    def __init__(self, content: IO[bytes], part: range) -> None:
        self._content, self._part = content, part

    async def __aiter__(self) -> AsyncIterator[bytes]:
        await in_file_thread(self._content.seek, self._part.start)
        left = len(self._part)
        while left and (piece := await in_file_thread(self._content.read, min(left, PIECE_BYTES))):
            left -= len(piece)
            yield piece

    def close(self) -> None:
        self._content.close()


def _range_of(request: HttpRequest, size: int, etag: str) -> range | None:
    """Return the bytes that the request asks for; None for all of them.

    As RFC 9110 allows, a header that is not understood and several ranges at once count as no range.
    """
    found = RANGE.match(request.headers.get("range", ""))
    if not found or request.headers.get("if-range", etag) != etag:
        return None
    first, last = found.groups()
    if first and last and int(last) < int(first):
        return None
    if first:
        return range(int(first), min(int(last or size) + 1, size)) if int(first) < size else range(size, size)
    if not last:
        return None
    return range(max(size - int(last), 0), size) if int(last) else range(size, size)
