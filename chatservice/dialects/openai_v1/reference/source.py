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

from chatservice.dialects.openai_v1.reference.additions import ADDITIONS, ADDRESSES, ALTERNATIVES, OPTIONAL
from chatservice.dialects.openai_v1.reference.discriminators import with_mappings

HERE = Path(__file__).parent
SCHEMAS = "#/components/schemas/"
# Keywords whose values are named by the author: a property may be called "nullable".
NAMED = frozenset({"properties", "patternProperties", "$defs"})
# Keywords whose values are data, not schemas.
DATA = frozenset({"default", "enum", "const", "example", "examples", "required"})


@dataclass(frozen=True, slots=True)
class Change:
    """A difference from OpenAI's document that is wanted.

    `property` is a path such as `choices.finish_reason`; empty if all of the schema differs. With `only_in`, the schema
    differs only where that other one refers to it.
    """

    schema: str
    reason: str
    property: str = ""
    becomes: Mapping[str, Any] | None = None
    replaced: bool = False
    only_in: str = ""


@functools.cache
def document() -> dict[str, Any]:
    """Return OpenAI's document, with names in place of `$recursiveRef`, which OpenAPI does not know."""
    read: dict[str, Any] = json.loads((HERE / "openapi-2.3.0-subset.json").read_text())
    components = read["components"]["schemas"]
    read["components"]["schemas"] = {name: with_names(each, name) for name, each in components.items()}
    return read


def with_names(value: Any, component: str) -> Any:
    """Return a schema that names itself where it refers to itself."""
    if isinstance(value, list):
        return [with_names(each, component) for each in value]
    if not isinstance(value, dict):
        return value
    if "$recursiveRef" in value:
        return {"$ref": f"{SCHEMAS}{component}"}
    return {name: with_names(each, component) for name, each in value.items() if name != "$recursiveAnchor"}


@functools.cache
def changes() -> tuple[Change, ...]:
    with (HERE / "changes.toml").open("rb") as file:
        return tuple(Change(**each) for each in tomllib.load(file)["change"])


def reason_of(schema: str, property_: str) -> str | None:
    """Return why a property differs from OpenAI's document, or None if that is not on purpose."""
    found = (each for each in changes() if each.schema == schema)
    whole = (each for each in found if not each.property or f"{property_}.".startswith(f"{each.property}."))
    return next((each.reason for each in whole), None)


@functools.cache
def schemas() -> Mapping[str, Any]:
    """Return all of OpenAI's schemas, as this service has them."""
    made: dict[str, Any] = copy.deepcopy(document()["components"]["schemas"])
    for change in changes():
        if change.becomes is not None:
            changed = _own_copy(made, change) if change.only_in else made[change.schema]
            found = [_change(each, change) for each in properties_at(changed, change.property)]
            if not found:
                raise LookupError(f"changes.toml: {change.schema} has no {change.property}")
    for name, added in ADDITIONS.items():
        _object_of(made[name])["properties"].update(copy.deepcopy(added))
    for name, added in ALTERNATIVES.items():
        made[name]["anyOf"] = [*made[name].pop("oneOf"), added]
    for name, address in ADDRESSES.items():
        for shape in _with_alternatives(made[name]["properties"][address]):
            shape.pop("format", None)
    for name, optional in OPTIONAL.items():
        owner = _object_of(made[name])
        owner["required"] = [each for each in owner["required"] if each not in optional]
    return {name: with_mappings(as_3_1(each), made) for name, each in made.items()}


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


def _with_alternatives(schema: dict[str, Any]) -> list[dict[str, Any]]:
    return [schema, *schema.get("anyOf", ())]


def as_3_1(value: Any) -> Any:
    """Return a schema in the words of OpenAPI 3.1, which does not know `nullable`."""
    if isinstance(value, list):
        return [as_3_1(each) for each in value]
    if not isinstance(value, dict):
        return value
    made: dict[str, Any] = {}
    for key, each in value.items():
        if key in NAMED:
            made[key] = {name: as_3_1(inner) for name, inner in each.items()}
        elif key != "nullable":
            made[key] = each if key in DATA else as_3_1(each)
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


def _own_copy(made: dict[str, Any], change: Change) -> dict[str, Any]:
    """Copy the changed schema, and let the schema named by `only_in` refer to the copy, which is returned."""
    name = f"{change.only_in}{change.schema}"
    copied: dict[str, Any] = copy.deepcopy(made[change.schema])
    made[name] = copied
    made[change.only_in] = _renamed(made[change.only_in], f"{SCHEMAS}{change.schema}", f"{SCHEMAS}{name}")
    return copied


def _renamed(value: Any, old: str, new: str) -> Any:
    if isinstance(value, list):
        return [_renamed(each, old, new) for each in value]
    if isinstance(value, dict):
        return {name: _renamed(each, old, new) for name, each in value.items()}
    return new if value == old else value


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
