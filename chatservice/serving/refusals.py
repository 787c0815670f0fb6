"""Responses to what never becomes a request: too large, too slow, or not HTTP."""

from __future__ import annotations

from collections.abc import Iterable

from chatservice import url_prefix
from chatservice.dialects.problems import Problem
from chatservice.request_log import new_request_id
from chatservice.views import answer_at
from foundation.internals.uvicorn.faults import Fault
from foundation.logs.context import LogContext, log_context

PROBLEMS = {
    Fault.INVALID: Problem(400, "invalid_request", "This is not a valid HTTP request."),
    Fault.LONG_URL: Problem(414, "url_too_long", "The URL is too long: see the setting MAX_URL_BYTES."),
    Fault.LARGE_HEADERS: Problem(
        431, "headers_too_large", "The headers are too large: see the setting MAX_HEADER_BYTES."
    ),
    Fault.MANY_HEADERS: Problem(431, "too_many_headers", "There are too many headers: see the setting MAX_HEADERS."),
    Fault.SLOW_HEADERS: Problem(
        408, "request_timeout", "The headers took too long to arrive: see the setting HEADER_SECONDS."
    ),
    Fault.SLOW_BODY: Problem(408, "request_timeout", "The body took too long to arrive: see the setting BODY_SECONDS."),
}


def refusal_bytes(path: str, fault: Fault, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the whole response, in the shape of the dialect that `path` belongs to, if the path is known."""
    context = LogContext(new_request_id())
    outside = log_context.set(context)
    try:
        response = answer_at(url_prefix.without(path), PROBLEMS[fault])
    finally:
        log_context.reset(outside)
    own = {
        **response.headers,
        "Content-Length": str(len(response.content)),
        "Connection": "close",
        "X-Request-Id": context.request_id,
    }
    lines = [f"HTTP/1.1 {response.status_code} {response.reason_phrase}".encode()]
    lines += [name + b": " + value for name, value in headers]
    lines += [f"{name}: {value}".encode("latin-1") for name, value in own.items()]
    return b"\r\n".join([*lines, b"", response.content])
