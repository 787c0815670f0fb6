"""POST takes one JSON-RPC message. Who asks, and whether they may, is decided here, before the protocol is spoken."""

from __future__ import annotations

import asyncio
import importlib
import sys
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from accounts.callers import Principal
from accounts.scopes import Scope, require_scope
from chatservice.dialects.base import AsyncAPIView, encode_json
from chatservice.dialects.json_body import read_object
from chatservice.dialects.mcp.errors import render
from chatservice.dialects.mcp.reading import Asker
from chatservice.dialects.mcp.tools import TOOLS

EXCHANGE = "chatservice.dialects.mcp.exchange"


class McpView(AsyncAPIView):
    scopes = {"POST": Scope.SEARCH}
    render = staticmethod(render)
    http_method_names = ["post", "options"]

    async def post(self, request: HttpRequest, principal: Principal) -> HttpResponse:
        message = read_object(request)
        require_scope(principal, scope_of(message))
        asker = Asker(principal, page=request.build_absolute_uri(reverse("chat")))
        # Imported once somebody asks, in a thread: the package takes some 50 MB and more than a second.
        exchange: Any = sys.modules.get(EXCHANGE) or await asyncio.to_thread(importlib.import_module, EXCHANGE)
        # Written again: what the package reads is what was checked.
        response: HttpResponse = await exchange.answer(asker, request.headers, encode_json(message))
        return response


def scope_of(message: dict[str, Any]) -> Scope:
    """Return the scope that a key needs for a message, beside that of this API."""
    method, params = message.get("method"), message.get("params")
    if isinstance(method, str) and method.startswith("resources/"):
        return Scope.READ
    name = params.get("name") if method == "tools/call" and isinstance(params, dict) else None
    return TOOLS[name].scope if isinstance(name, str) and name in TOOLS else Scope.SEARCH
