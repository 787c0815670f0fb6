"""Responds with the content of a file, whole or in part."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponseBase

from chatservice.dialects.base import problem_response
from chatservice.dialects.problems import Problem
from files.models import File
from files.responses import content_response
from files.threads import in_file_thread

RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})\Z")


async def file_response(request: HttpRequest, file: File, render: Callable[[Problem], Any]) -> HttpResponseBase:
    """Return the content, or the part that a Range header asks for; raises ContentMissing."""
    etag = f'"{file.sha256}"'
    part = _range_of(request, file.size, etag)
    if part is not None and part.start >= file.size:
        problem = Problem(416, "range_not_satisfiable", f"The file has {file.size} bytes.")
        response: HttpResponseBase = problem_response(problem, render)
        response.headers["Content-Range"] = f"bytes */{file.size}"
        return response
    response = await in_file_thread(content_response, file, part)
    response.headers["Accept-Ranges"] = "bytes"
    response.headers["ETag"] = etag
    return response


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
