"""Completes discriminators: without a mapping they name components, and OpenAI means values of a property."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

UNIONS = ("oneOf", "anyOf")


def with_mappings(value: Any, components: Mapping[str, Any]) -> Any:
    """Return a schema whose discriminators have mappings. One that does not tell its alternatives apart is left out."""
    if isinstance(value, list):
        return [with_mappings(each, components) for each in value]
    if not isinstance(value, dict):
        return value
    made = {name: with_mappings(each, components) for name, each in value.items()}
    if isinstance(told := made.get("discriminator"), dict) and "propertyName" in told:
        alternatives = [each for keyword in UNIONS for each in made.get(keyword, ())]
        mapping = _mapping(told["propertyName"], alternatives, components)
        if mapping is None:
            del made["discriminator"]
        else:
            made["discriminator"] = {**told, "mapping": mapping}
    return made


def _mapping(name: str, alternatives: Sequence[Any], components: Mapping[str, Any]) -> dict[str, str] | None:
    mapping: dict[str, str] = {}
    for each in alternatives:
        if each == {"type": "null"}:
            continue
        values = _values(name, each, components) if "$ref" in each else []
        if not values or mapping.keys() & values:
            return None
        mapping |= dict.fromkeys(values, each["$ref"])
    return mapping or None


def _values(name: str, schema: Mapping[str, Any], components: Mapping[str, Any]) -> list[str]:
    """Return what a property of a schema can be."""
    schema = _resolved(schema, components)
    own = _resolved(schema.get("properties", {}).get(name, {}), components)
    return [
        *own.get("enum", ()),
        *(value for part in schema.get("allOf", ()) for value in _values(name, part, components)),
    ]


def _resolved(schema: Mapping[str, Any], components: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in schema:
        schema = components[schema["$ref"].rpartition("/")[2]]
    return schema
