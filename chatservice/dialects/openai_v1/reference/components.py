"""Completes the dialect's document with those of OpenAI's schemas that it refers to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from chatservice.dialects.openai_v1.reference.discriminators import with_mappings
from chatservice.dialects.openai_v1.reference.source import SCHEMAS, as_3_1, schemas


def add_components(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Add OpenAI's schemas to a generated document; a postprocessing hook of drf-spectacular."""
    components = result["components"].setdefault("schemas", {})
    result["paths"] = with_mappings(as_3_1(result["paths"]), schemas())
    missing = [name for name in references(result) if name not in components]
    while missing:
        name = missing.pop()
        if name not in components:
            components[name] = schemas()[name]
            missing.extend(references(components[name]))
    result["components"]["schemas"] = dict(sorted(components.items()))
    return result


def references(value: Any) -> Iterator[str]:
    """Yield the name of each component that is referred to."""
    if isinstance(value, list):
        for each in value:
            yield from references(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            if key == "$ref" and isinstance(each, str):
                yield each.removeprefix(SCHEMAS)
            else:
                yield from references(each)
