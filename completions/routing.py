"""Where the websocket is, and what any other path gets."""

from __future__ import annotations

from typing import Any

from django.urls import path, re_path

from completions.consumers import CompletionConsumer


async def nowhere(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Refuse a socket at any other address: without a route Channels would raise, which is a 500."""
    await receive()
    await send({"type": "websocket.close", "code": 4404})


chat = CompletionConsumer.as_asgi()
websocket_urlpatterns = [path("ws/chat", chat), path("ws/chat/", chat), re_path(r"", nowhere)]
