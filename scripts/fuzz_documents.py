"""Prepares OpenAPI documents for schemathesis."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

STREAM = "text/event-stream"
EVENT = {"type": "object", "properties": {"data": {"type": "string"}}, "required": ["data"]}
SCHEMAS = "#/components/schemas/"
SENT = "Sent"  # before the name of a component, in requests
UNIONS = ("oneOf", "anyOf")
MAX_ALTERNATIVES = 2


def with_events(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with streams described as schemathesis reads them: by the fields of an event.

    OpenAI's document describes the JSON in an event's `data`; tests of that dialect check it.
    """
    for path in document["paths"].values():
        for operation in path.values():
            for response in operation.get("responses", {}).values():
                stream = response.get("content", {}).get(STREAM)
                if stream is not None and "data" not in resolved(document, stream["schema"]).get("properties", {}):
                    stream["schema"] = EVENT
    return document


def resolved(document: Mapping[str, Any], shape: dict[str, Any]) -> dict[str, Any]:
    name = shape.get("$ref", "").rpartition("/")[2]
    return document["components"]["schemas"][name] if name else shape


def with_few_alternatives(document: dict[str, Any], choice: random.Random) -> dict[str, Any]:
    """Return the document with some of the alternatives of each large union in requests.

    There are dozens of kinds of items and tools, each in each other: schemathesis would try their combinations for
    hours. Another seed tries others. Responses keep all of theirs.
    """
    components = document["components"]["schemas"]
    for path in document["paths"].values():
        for operation in path.values():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                content["schema"] = _sent(content["schema"], choice)
    components |= {f"{SENT}{name}": _sent(shape, choice) for name, shape in components.items()}
    return document


def _sent(value: Any, choice: random.Random) -> Any:
    """Return a schema of requests, without what tells alternatives apart: it may name those that are left out."""
    if isinstance(value, list):
        return [_sent(each, choice) for each in value]
    if not isinstance(value, dict):
        return value
    made: dict[str, Any] = {}
    for name, each in value.items():
        if name in UNIONS and isinstance(each, list) and len(each) > MAX_ALTERNATIVES:
            made[name] = [_sent(one, choice) for one in choice.sample(each, MAX_ALTERNATIVES)]
        elif name == "$ref" and isinstance(each, str):
            made[name] = each.replace(SCHEMAS, f"{SCHEMAS}{SENT}")
        elif name != "discriminator":
            made[name] = _sent(each, choice)
    return made
