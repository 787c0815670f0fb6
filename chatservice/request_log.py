"""What is known of a request from its first byte on, and the line that is logged at its end (REQUEST_LOG)."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

import uuid_utils

from accounts.callers import trusts_sender
from chatservice.bodies import Receive, Send
from foundation.logs.context import LogContext, log_context

logger = logging.getLogger(__name__)

REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}\Z")
TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-|\Z)")
KEY = "log_context"


def begin_request(scope: dict[str, Any]) -> LogContext:
    """Return what is known of the request of an ASGI scope, and let the lines of this task have it.

    Its id, and that of its trace, are those that a trusted proxy sent, if they are well-formed; else the id is new.
    """
    context = LogContext(new_request_id(), method=scope.get("method", "GET"))
    sent = {name: value for name, value in scope.get("headers", ()) if name in (b"x-request-id", b"traceparent")}
    if sent and trusts_sender([name for name, _ in scope["headers"]], (scope.get("client") or ("",))[0]):
        given = sent.get(b"x-request-id", b"").decode("latin-1")
        context.request_id = given if REQUEST_ID.match(given) else context.request_id
        trace = TRACEPARENT.match(sent.get(b"traceparent", b"").decode("latin-1"))
        context.trace_id = trace[1] if trace else ""
    scope[KEY] = context
    log_context.set(context)
    return context


def new_request_id() -> str:
    return f"req_{uuid_utils.uuid7().hex}"


async def log_request(
    application: Callable[[dict[str, Any], Receive, Send], Awaitable[None]],
    scope: dict[str, Any],
    receive: Receive,
    send: Send,
) -> None:
    """Run the application for one request or websocket, and log a line at its end.

    The status of a websocket is 101 or that of its refusal; without one, the client left before the response began.
    """
    began, status = time.perf_counter(), None

    async def sending(message: Any) -> None:
        nonlocal status
        match message["type"]:
            case "http.response.start":
                status = message["status"]
            case "websocket.accept":
                status = 101
            case "websocket.close":
                status = status or 403
        await send(message)

    try:
        await application(scope, receive, sending)
    finally:
        # The context was set in this task, whose lines have it; only what is new is said here.
        took = round((time.perf_counter() - began) * 1_000, 1)
        logger.info("request", extra={"status": status, "duration_ms": took})
