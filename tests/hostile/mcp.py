"""Hostile messages to the MCP server: wrong envelopes, wrong parameters, wrong arguments of every tool."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from chatservice.dialects import DIALECTS
from tests.hostile.inputs import IDS, JSON, TEXTS, VALUES, Input, encoded
from tests.matrix.rows import filled

METHODS = (
    *("", "x", "tools/call/", "TOOLS/LIST", "rpc.discover", "prompts/get", "completion/complete", "logging/setLevel"),
    *("sampling/createMessage", "subscriptions/listen", "resources/subscribe", "notifications/cancelled", "tasks/get"),
    *("__class__", "x" * 100_000, "initialize", "server/discover"),
)
HEADERS: dict[str, dict[str, str | bytes]] = {
    "an old version": {"MCP-Protocol-Version": "2024-11-05"},
    "a version of nobody": {"MCP-Protocol-Version": "9999-99-99"},
    "a new version without its envelope": {"MCP-Protocol-Version": "2026-07-28"},
    "another method in the header": {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/list"},
    "high bytes in a header": {"MCP-Protocol-Version": "2026-07-28", "Mcp-Name": b"\xff\xfe\xe2\x82\xac"},
    "a parameter in a header": {"Mcp-Param-Query": "=?base64?eHg=?=", "MCP-Protocol-Version": "2026-07-28"},
    "a session": {"Mcp-Session-Id": "../../x"},
    "no acceptable type": {"Accept": "text/html"},
    "events alone": {"Accept": "text/event-stream"},
}


def mcp_inputs(own: Mapping[str, str]) -> Iterator[Input]:
    if "mcp" not in DIALECTS:
        return
    valid = _called("recent", {})
    for name, value in {**VALUES, **TEXTS}.items():
        for field in ("jsonrpc", "id", "method", "params"):
            yield _input(f"{field} of a message is {name}", {**valid, field: value})
        yield _input(f"the name of a tool is {name}", _called(value, {}))
        yield _input(f"the arguments of a tool are {name}", _called("recent", value))
        yield _input(f"_meta of a message is {name}", {**valid, "params": {**valid["params"], "_meta": value}})
        for method in ("resources/read", "resources/list", "tools/list", "initialize", "ping"):
            yield _input(f"{method} of {name}", {**valid, "method": method, "params": {"uri": value, "cursor": value}})
    for method in METHODS:
        yield _input(f"method {method[:30]}", {**valid, "method": method})
        yield _input(f"notification {method[:30]}", {"jsonrpc": "2.0", "method": method, "params": {"x": "y"}})
    yield _input("a response", {"jsonrpc": "2.0", "id": 1, "result": {}})
    yield _input("an error", {"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "x"}})
    yield _input("messages at once", [valid, valid])
    for what, text in IDS.items():
        yield _input(f"resource {what}", {**valid, "method": "resources/read", "params": {"uri": f"chat://x/{text}"}})
        around = {"id": own["own.conversation"], "around": text}
        yield _input(f"around {what}", _called("read_conversation", around))
    yield from _argument_inputs(own)
    for name, headers in HEADERS.items():
        yield _input(name, valid, headers)


def _argument_inputs(own: Mapping[str, str]) -> Iterator[Input]:
    """Yield each argument of each tool with each wrong value, and one that the tool does not have."""
    rows = importlib.import_module("tests.matrix.mcp").ROWS
    given = {row.target: filled(row.body, own)["params"]["arguments"] for row in rows if row.kind == "tool"}
    for tool, described in importlib.import_module("chatservice.dialects.mcp.tools").TOOLS.items():
        for argument in (*described.takes.__struct_fields__, "owner_id"):
            for what, value in {**VALUES, **TEXTS}.items():
                yield _input(f"{tool} with {argument} {what}", _called(tool, {**given[tool], argument: value}))


def _called(name: Any, arguments: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}


def _input(name: str, body: Any, headers: Mapping[str, str | bytes] | None = None) -> Input:
    return Input(f"MCP: {name}", "POST", "/mcp", {"Content-Type": JSON, **(headers or {})}, encoded(body))
