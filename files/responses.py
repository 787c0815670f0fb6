"""Responses with the content of a file, which no browser runs: neither as a page of ours, nor as what it is not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import IO

from django.http import HttpResponse, StreamingHttpResponse
from django.utils.http import content_disposition_header

from files.media_types import TEXT
from files.models import File
from files.services import open_file
from files.threads import in_file_thread
from files.thumbnails import MEDIA_TYPE

PIECE_BYTES = 262_144
POLICY = "sandbox; default-src 'none'"
SAFE_HEADERS = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": POLICY}
# A browser shows a picture in a page of its own making, with styles: without them it is not made to fit the window.
PICTURE_POLICY = f"{POLICY}; style-src 'unsafe-inline'"
# What browsers show as a picture and nothing else. SVG, which is a program, counts as text.
SHOWN = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp", "image/avif"})


def content_response(file: File, part: range | None = None, *, may_show: bool = False) -> StreamingHttpResponse:
    """Return the content, or a part of it, to be saved; with `may_show` a browser shows a picture.

    Opens the file, so call it in a thread; raises ContentMissing.
    """
    sent = range(file.size) if part is None else part
    response = StreamingHttpResponse(
        Pieces(open_file(file=file), sent),
        status=200 if part is None else 206,
        content_type=f"{TEXT}; charset=utf-8" if file.media_type == TEXT else file.media_type,
        headers=SAFE_HEADERS,
    )
    response.headers["Content-Length"] = str(len(sent))
    if shown := may_show and file.media_type in SHOWN:
        response.headers["Content-Security-Policy"] = PICTURE_POLICY
    if disposition := content_disposition_header(as_attachment=not shown, filename=file.name):
        response.headers["Content-Disposition"] = disposition
    if part is not None:
        response.headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{file.size}"
    return response


def thumbnail_response(picture: bytes) -> HttpResponse:
    return HttpResponse(picture, content_type=MEDIA_TYPE, headers=SAFE_HEADERS)


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
