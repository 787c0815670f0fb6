"""The rows of the MCP server: its tools and resources, each a JSON-RPC message to the one path."""

from __future__ import annotations

from typing import Any

from tests.matrix.rows import Admits, Probe, Row, http

URI = "chat://conversations"


def message(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def called(name: str, **arguments: str) -> dict[str, Any]:
    return message("tools/call", name=name, arguments=arguments)


def probe(argument: str, body: dict[str, Any], outcome: str = "not_found", *, reaches: bool = True) -> Probe:
    return Probe(f"argument {argument}", body=body, outcome=outcome, reaches=reaches)


def row(operation: str, *touches: str, body: dict[str, Any], probes: tuple[Probe, ...] = (), **more: Any) -> Row:
    return Row(operation, Admits.GUESTS, touches, probes, body, **more)


READ = "read_conversation"
# A search by meaning always finds something: only the phrase itself tells.
PHRASE = probe("query", called("search_history", query='"<word>"'), "ok", reaches=False)

ROWS = (
    http("POST /mcp", "conversation", "message", body=called("search_history", query="in")),
    row("tool search_history", "message", body=called("search_history", query="in"), probes=(PHRASE,)),
    row(
        f"tool {READ}",
        *("conversation", "message"),
        body=called(READ, id="<own.conversation>"),
        probes=(
            probe("id", called(READ, id="<conversation>")),
            probe("around", called(READ, id="<own.conversation>", around="<message>")),
        ),
    ),
    # A cursor is a time and an id to go on from in the order of one's own: it is looked up nowhere.
    row("tool list_conversations", "conversation", body=called("list_conversations"), harmless=("argument cursor",)),
    row("tool recent", "conversation", "message", body=called("recent")),
    row("resources list", "conversation", body=message("resources/list"), harmless=("argument cursor",)),
    row("resources templates/list", body=message("resources/templates/list")),
    row(
        "resources read",
        *("conversation", "message"),
        body=message("resources/read", uri=f"{URI}/<own.conversation>"),
        probes=(probe("uri", message("resources/read", uri=f"{URI}/<conversation>")),),
    ),
)
