"""Hostile frames, for the chat's websocket and for GraphQL's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tests.hostile.bodies import structures
from tests.hostile.graph import BODIES, documents
from tests.hostile.inputs import IDS, TEXTS, VALUES

Frame = str | bytes
FIELDS: dict[str, dict[str, Any]] = {
    "send": {
        "content": "x",
        "file_ids": None,
        "conversation_id": None,
        "parent_id": None,
        "title": None,
        "model": None,
        "temperature": None,
        "parameters": None,
        "client_id": None,
        "id": None,
    },
    "subscribe": {"run_id": "x", "conversation_id": None, "cursor": None, "id": None},
    "unsubscribe": {"run_id": "x"},
    "continue": {"message_id": "x"},
    "stop": {"run_id": "x"},
    "auth": {"key": "x"},
    "ping": {"id": None},
}
PARAMETERS: tuple[dict[str, Any], ...] = (
    {"model": "x"}, {"messages": []}, {"stream": False}, {"store": False}, {"n": 0}, {"n": 10**9}, {"top_p": "x"},
    {"max_tokens": 1.5}, {"tools": {}}, {"metadata": []}, {"a": {"b": [1] * 2_000}}, {"seed": 2**70}, {"logprobs": 5},
)  # fmt: skip


def frames(own: Mapping[str, str]) -> Iterator[tuple[str, Frame]]:
    """Yield frames of the chat's websocket that are wrong or look wrong."""
    for name, body in structures().items():
        if len(body) < 500_000:
            yield name, body.decode("utf-8", "replace")
    yield "binary", b'{"type": "ping"}'
    yield "empty binary", b""
    yield "4 MiB and more", json.dumps({"type": "send", "content": "x" * 4_200_000})
    for kind in (None, 5, "", "SEND", "open", ["send"], {"a": 1}, "send\u0000", "ai_complete"):
        yield f"type {kind}", json.dumps({"type": kind, "content": "x"})
    for kind, fields in FIELDS.items():
        valid = {name: value for name, value in fields.items() if value is not None}
        for name in fields:
            for what, value in {**VALUES, **TEXTS}.items():
                yield f"{kind} with {name} {what}", json.dumps({"type": kind, **valid, name: value})
        yield f"{kind} and more", json.dumps({"type": kind, **valid, "user_id": "x"})
        yield f"{kind} and nothing", json.dumps({"type": kind})
    for what, text in IDS.items():
        yield f"file {what}", json.dumps({"type": "send", "content": "x", "file_ids": [text]})
        yield f"conversation {what}", json.dumps({"type": "send", "content": "x", "conversation_id": text})
        cursor = {"type": "subscribe", "run_id": own["run"], "cursor": f"{own['run']}.{text}.0"}
        yield f"cursor {what}", json.dumps(cursor)
    for parameters in PARAMETERS:
        yield f"parameters {parameters!s:.30}", json.dumps({"type": "send", "content": "x", "parameters": parameters})


def graph_frames() -> Iterator[tuple[str, Frame]]:
    """Yield frames for GraphQL's websocket, to be sent after its handshake."""
    for name, body in structures().items():
        if len(body) < 500_000:
            yield name, body.decode("utf-8", "replace")
    yield "binary", b'{"type": "ping"}'
    for kind in (
        None,
        "",
        "start",
        "connection_init",
        "connection_ack",
        "next",
        "error",
        "complete",
        "ping",
        "pong",
        ["subscribe"],
    ):
        yield f"type {kind}", json.dumps({"type": kind, "id": "1"})
    for what, value in VALUES.items():
        yield f"id {what}", json.dumps({"type": "subscribe", "id": value, "payload": {"query": "{ me { id } }"}})
        yield f"payload {what}", json.dumps({"type": "subscribe", "id": "1", "payload": value})
        yield f"ping of {what}", json.dumps({"type": "ping", "payload": value})
    for name, document in documents().items():
        if len(document) < 60_000:
            yield name, json.dumps({"type": "subscribe", "id": "1", "payload": {"query": document}})
    for name, body in BODIES.items():
        yield name, json.dumps({"type": "subscribe", "id": "1", "payload": body})
    follow = "subscription($r: ID!, $c: String) { followRun(runId: $r, cursor: $c) { runId } }"
    for what, text in IDS.items():
        payload = {"query": follow, "variables": {"r": text, "c": None}}
        yield f"run {what}", json.dumps({"type": "subscribe", "id": "1", "payload": payload})
