"""Has the package `mcp` answer one POST: its Streamable HTTP application without sessions, run for this request alone.

So nothing is kept between requests, and it does not matter which process gets the next one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from django.http import HttpResponse
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

from chatservice.dialects.mcp.reading import Asker
from chatservice.dialects.mcp.server import ASKER, may_read, server_for

logger = logging.getLogger(__name__)

JSON = "application/json"
# The caller is known, and the body was decoded: the package needs none of it.
NOT_PASSED_ON = {"authorization", "cookie", "content-length", "content-encoding"}
# The body is JSON, and so is every response, whatever a client asks for: as in the other APIs.
OURS = {"content-type": JSON, "accept": f"{JSON}, text/event-stream"}


async def answer(asker: Asker, headers: Mapping[str, str], body: bytes) -> HttpResponse:
    """Return the package's response to one JSON-RPC message."""
    sent: list[dict[str, Any]] = []
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        return await asyncio.Future()  # nobody leaves: the response is short, and is sent afterwards

    async def send(message: Any) -> None:
        sent.append(message)

    manager = StreamableHTTPSessionManager(
        server_for(may_read(asker)), json_response=True, stateless=True, max_request_body_size=max(1, len(body))
    )
    async with manager.run():
        await manager.handle_request(_scope(asker, headers), receive, send)
    return _response(sent)


def _scope(asker: Asker, headers: Mapping[str, str]) -> dict[str, Any]:
    passed = {name.lower(): value for name, value in headers.items() if name.lower() not in NOT_PASSED_ON}
    return {
        "type": "http",
        "method": "POST",
        "path": "/",
        "query_string": b"",
        "headers": [
            (name.encode("latin-1", "replace"), value.encode("latin-1", "replace"))
            for name, value in {**passed, **OURS}.items()
        ],
        ASKER: asker,
    }


def _response(sent: list[dict[str, Any]]) -> HttpResponse:
    start = next(each for each in sent if each["type"] == "http.response.start")
    if start["status"] >= 500:
        logger.error("the package mcp failed: status %s", start["status"])
    body = b"".join(each.get("body", b"") for each in sent if each["type"] == "http.response.body")
    kind = dict(start["headers"]).get(b"content-type", JSON.encode()).decode("latin-1")
    return HttpResponse(body, status=start["status"], content_type=kind)
