"""Checks real answers against the dialect's OpenAPI document, so that it promises nothing that is not sent."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from typing import Any

import httpx2
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from chatservice.docs import schema_of
from chatservice.testing import sse_data

DIALECT = "openai_v1"
STREAM = "text/event-stream"
ERROR = {"$ref": "#/components/schemas/OpenAIError"}
# What is answered where there is no operation.
NO_PATH = {"404": {"content": {"application/json": {"schema": ERROR}}}}
NO_METHOD = {"405": {"content": {"application/json": {"schema": ERROR}}}}


def problems_of(response: httpx2.Response) -> Iterator[str]:
    """Yield what the document does not say about a response: its status, its type, or something in its body."""
    # The path as it was sent: decoded, %2F would make another one of it.
    method, path = response.request.method, response.request.url.raw_path.decode().partition("?")[0]
    operations = operations_at(path)
    operation = operations.get(method.lower(), {"responses": NO_PATH if not operations else NO_METHOD})
    documented = operation["responses"].get(str(response.status_code))
    if documented is None:
        yield f"{method} {path}: {response.status_code} is not documented"
        return
    kind, content = response.headers["content-type"].partition(";")[0], documented.get("content", {})
    if kind not in content and "*/*" not in content:
        yield f"{method} {path}: {kind} is not documented for {response.status_code}"
        return
    schema = content[kind if kind in content else "*/*"]["schema"]
    if kind == STREAM:
        yield from _problems_of_stream(schema, response.text)
    elif kind == "application/json":
        yield from _errors(schema, response.json())


def operations_at(path: str) -> dict[str, Any]:
    """Return the documented operations of a path by their methods; of one without parameters first."""
    paths = schema_of(DIALECT)["paths"]
    for template in sorted(paths, key=lambda each: each.count("{")):
        pattern = re.sub(r"\\{[^}]+\\}", ".+" if template.endswith("/models/{model}") else "[^/]+", re.escape(template))
        if re.fullmatch(pattern, path):
            found: dict[str, Any] = paths[template]
            return found
    return {}


def _problems_of_stream(schema: dict[str, Any], text: str) -> Iterator[str]:
    *events, last = sse_data(text)
    if last != "[DONE]":
        yield f"the last line is {last}"
    for event in map(json.loads, events):
        # An event of a response names its type, an error too; a chunk of a completion does not.
        is_error = "error" in event and "type" not in event
        yield from _errors(ERROR if is_error else _variant(schema, event), event)


def _variant(schema: dict[str, Any], event: dict[str, Any]) -> dict[str, Any]:
    """Return the only schema of a union that has the event's type: what is wrong is said of that one."""
    components = schema_of(DIALECT)["components"]["schemas"]
    named = components.get(schema.get("$ref", "").rpartition("/")[2], {})
    variant = named.get("discriminator", {}).get("mapping", {}).get(event.get("type"))
    return {"$ref": variant} if variant else schema


def _errors(schema: dict[str, Any], value: Any) -> Iterator[str]:
    error = best_match(validator(json.dumps(schema)).iter_errors(value))
    if error is not None:
        yield f"{error.json_path}: {error.message[:300]} (in {json.dumps(value)[:600]})"


@functools.cache
def validator(schema: str) -> Draft202012Validator:
    return Draft202012Validator({**json.loads(schema), "components": schema_of(DIALECT)["components"]})
