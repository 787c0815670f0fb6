"""Calls the MCP server of a running service: with the official client, or with a JSON-RPC message as it is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

T = TypeVar("T")
LEGACY, MODERN = "legacy", "2026-07-28"
"""How the client begins: with the handshake of 2025 and before, or without any."""
ACCEPT = "application/json, text/event-stream"


def with_client(
    url: str, headers: Mapping[str, str], ask: Callable[[Client], Awaitable[T]], *, mode: str = "auto"
) -> T:
    """Return what `ask` returns, which gets a connected client."""

    async def connected() -> T:
        async with (
            httpx2.AsyncClient(headers=dict(headers), timeout=30, trust_env=False) as http,
            Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode) as client,
        ):
            return await ask(client)

    try:
        return asyncio.run(connected())
    except BaseExceptionGroup as group:  # the client's task groups wrap what it raises
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None


def call_tool(url: str, headers: Mapping[str, str], name: str, *, mode: str = "auto", **arguments: Any) -> Any:
    """Return a tool's result as the official client has it."""
    return with_client(url, headers, lambda client: client.call_tool(name, arguments), mode=mode)


def message(method: str, /, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def tool_message(name: str, /, **arguments: Any) -> dict[str, Any]:
    return message("tools/call", name=name, arguments=arguments)


def post(http: httpx2.Client, body: Any, **headers: str) -> httpx2.Response:
    return http.post("/mcp", json=body, headers={"Accept": ACCEPT, **headers})
