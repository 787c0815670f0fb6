"""The documented shape of an error in each dialect: what every refusal must look like."""

from __future__ import annotations

import json
from typing import Any

from chatservice.dialects import dialect_of


def problem_with(path: str, text: str) -> str:
    """Return what is wrong with an error's body for the API that serves `path`; empty if nothing is."""
    if path.startswith("/shared/") and text.startswith("<!doctype html>"):
        # For people, whatever a client accepts, so that all that is no link looks alike.
        return "" if "<h1>Nothing is shared here</h1>" in text or "<h1>Too many requests</h1>" in text else "no notice"
    try:
        body = json.loads(text)
    except ValueError:
        return "no JSON"
    if not isinstance(body, dict):
        return "no object"
    return CHECKS[_owner(path.partition("?")[0])](body)


def _owner(path: str) -> str:
    """Return the dialect that owns an address."""
    return dialect_of(path) or "site"


def _object(body: dict[str, Any]) -> str:
    error = body.get("error")
    if set(body) != {"error"} or not isinstance(error, dict):
        return "not {error}"
    if not {"code", "message", "request_id"} <= set(error) <= {"code", "message", "details", "request_id"}:
        return f"keys {sorted(error)}"
    return _texts(error, "code", "message", "request_id")


def _envelope(body: dict[str, Any]) -> str:
    if set(body) != {"success", "message", "error"} or body["success"] is not False:
        return f"keys {sorted(body)}"
    error = body["error"]
    if not isinstance(error, dict) or set(error) != {"code", "details", "request_id"}:
        return "not {code, details, request_id}"
    if not isinstance(error["details"], dict):
        return "details"
    return _texts({**error, **body}, "code", "message", "request_id")


def _openai(body: dict[str, Any]) -> str:
    error = body.get("error")
    if set(body) != {"error"} or not isinstance(error, dict) or set(error) != {"message", "type", "param", "code"}:
        return "not {message, type, param, code}"
    return _texts(error, "message", "type", "code") or (
        "" if isinstance(error["param"], (str, type(None))) else "param"
    )


def _graphql(body: dict[str, Any]) -> str:
    errors = body.get("errors")
    if not set(body) <= {"errors", "data"} or not isinstance(errors, list) or not errors:
        return f"keys {sorted(body)}"
    for error in errors:
        if not {"message", "extensions"} <= set(error) <= {"message", "locations", "path", "extensions"}:
            return f"keys {sorted(error)}"
        if wrong := _texts({**error["extensions"], **error}, "message", "code"):
            return wrong
        if error["extensions"]["code"] == "internal_error":
            return "an internal error"
    return ""


def _mcp(body: dict[str, Any]) -> str:
    error = body.get("error")
    if set(body) != {"jsonrpc", "id", "error"} or body["jsonrpc"] != "2.0" or not isinstance(error, dict):
        return f"keys {sorted(body)}"
    if not {"code", "message"} <= set(error) <= {"code", "message", "data"} or not isinstance(error["code"], int):
        return f"keys {sorted(error)}"
    data = error.get("data")  # of the package's own errors it may be a text
    if isinstance(data, dict) and data.get("code") == "internal_error":
        return "an internal error"
    return _texts(error, "message")


def _texts(error: dict[str, Any], *names: str) -> str:
    return next((f"{name} is no text" for name in names if not isinstance(error[name], str) or not error[name]), "")


CHECKS = {
    "chat": _object,
    "chat_v1": _envelope,
    "graphql": _graphql,
    "mcp": _mcp,
    "openai_v1": _openai,
    "resources": _object,
    "site": _object,
}
