"""Reads OpenAI's document and makes ours of it: as OpenAPI 3.1 has it, with additions.py and changes.toml."""

from __future__ import annotations

import copy
import functools
import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatservice.dialects.openai_v1.reference.additions import ADDITIONS, OPTIONAL

HERE = Path(__file__).parent
SCHEMAS = "#/components/schemas/"
# Keywords whose values are named by the author: a property may be called "nullable".
NAMED = frozenset({"properties", "patternProperties", "$defs"})
# Keywords whose values are data, not schemas.
DATA = frozenset({"default", "enum", "const", "example", "examples", "required"})


@dataclass(frozen=True, slots=True)
class Change:
    """A difference from OpenAI's document that is wanted. `property` is a path such as `choices.finish_reason`."""

    schema: str
    property: str
    reason: str
    becomes: Mapping[str, Any] | None = None
    replaced: bool = False


@functools.cache
def document() -> dict[str, Any]:
    """Return OpenAI's document, as OpenAI wrote it."""
    read: dict[str, Any] = json.loads((HERE / "openapi-2.3.0-subset.json").read_text())
    return read


@functools.cache
def changes() -> tuple[Change, ...]:
    with (HERE / "changes.toml").open("rb") as file:
        return tuple(Change(**each) for each in tomllib.load(file)["change"])


def reason_of(schema: str, property_: str) -> str | None:
    """Return why a property differs from OpenAI's document, or None if that is not on purpose."""
    found = (each for each in changes() if each.schema == schema and f"{property_}.".startswith(f"{each.property}."))
    return next((each.reason for each in found), None)


@functools.cache
def schemas() -> Mapping[str, Any]:
    """Return all of OpenAI's schemas, as this service has them."""
    made: dict[str, Any] = copy.deepcopy(document()["components"]["schemas"])
    for change in changes():
        if change.becomes is not None:
            found = [_change(each, change) for each in properties_at(made[change.schema], change.property)]
            if not found:
                raise LookupError(f"changes.toml: {change.schema} has no {change.property}")
    for name, added in ADDITIONS.items():
        _object_of(made[name])["properties"].update(copy.deepcopy(added))
    for name, optional in OPTIONAL.items():
        owner = _object_of(made[name])
        owner["required"] = [each for each in owner["required"] if each not in optional]
    return {name: as_3_1(each, name) for name, each in made.items()}


def properties_at(schema: dict[str, Any], path: str) -> Iterator[dict[str, Any]]:
    """Yield the schemas of the property at `path`, through unions and lists, but not through references."""
    first, _, rest = path.partition(".")
    parts = [schema, *(part for key in ("allOf", "anyOf", "oneOf") for part in schema.get(key, ()))]
    for part in [*parts[1:], *([schema["items"]] if "items" in schema else [])]:
        yield from properties_at(part, path)
    if first in schema.get("properties", {}):
        found = schema["properties"][first]
        if rest:
            yield from properties_at(found, rest)
        else:
            yield found


def as_3_1(value: Any, component: str) -> Any:
    """Return a schema in the words of OpenAPI 3.1, which knows neither `nullable` nor `$recursiveRef`."""
    if isinstance(value, list):
        return [as_3_1(each, component) for each in value]
    if not isinstance(value, dict):
        return value
    made: dict[str, Any] = {}
    for key, each in value.items():
        if key in NAMED:
            made[key] = {name: as_3_1(inner, component) for name, inner in each.items()}
        elif key == "$recursiveRef":
            made["$ref"] = f"{SCHEMAS}{component}"
        elif key not in ("nullable", "$recursiveAnchor"):
            made[key] = each if key in DATA else as_3_1(each, component)
    return _with_null(made) if value.get("nullable") else made


def _with_null(schema: dict[str, Any]) -> dict[str, Any]:
    if isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
        if "enum" in schema:
            schema["enum"] = [*schema["enum"], None]
        return schema
    for key in ("anyOf", "oneOf"):
        if key in schema:
            schema[key] = [*schema[key], {"type": "null"}]
            return schema
    return {"anyOf": [schema, {"type": "null"}]}


def _change(found: dict[str, Any], change: Change) -> bool:
    if change.replaced:
        found.clear()
    found.update(copy.deepcopy(dict(change.becomes or {})))
    return True


def _object_of(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a schema that has its own properties."""
    if "properties" in schema:
        return schema
    return next(part for part in schema["allOf"] if "properties" in part)
