"""Values for JSON schemas, with what a question says where it fits: an obedient model's arguments and objects."""

from __future__ import annotations

import re
from typing import Any

MAX_DEPTH = 8
TEXTS = {"name": "Ada", "city": "Paris", "email": "ada@example.org", "date": "2026-01-01", "id": "a1"}
FORMATS = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "email": "ada@example.org",
    "uri": "https://a.example",
}
CONTENT = re.compile(r"\bcontent exactly:\s*(.+)", re.DOTALL)
PATH = re.compile(r"\b[\w/-]+\.\w{1,4}\b")


def fill(schema: dict[str, Any], question: str, *, place: str = "") -> Any:
    """Return a value that a schema allows."""
    return _Filling(schema, question, place).value(schema, "", 0)


class _Filling:
    def __init__(self, root: dict[str, Any], question: str, place: str) -> None:
        self.root, self.question, self.place = root, question, place

    def value(self, schema: Any, name: str, depth: int) -> Any:
        schema = self.resolved(schema)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return next(
                (each for each in schema["enum"] if str(each).lower() in self.question.lower()), schema["enum"][0]
            )
        for several in ("anyOf", "oneOf", "allOf"):
            if schema.get(several):
                return self.value(schema[several][0], name, depth)
        kind = schema.get("type") or ("object" if "properties" in schema else "string")
        kind = kind[0] if isinstance(kind, list) else kind
        match kind:
            case "object":
                return self.object(schema, depth)
            case "array":
                items = range(max(1, int(schema.get("minItems") or 1)))
                return [self.value(schema.get("items") or {}, name, depth + 1) for _ in items]
            case "integer" | "number":
                found = re.search(r"(?<![\w.])-?\d+", self.question)
                return int(found[0]) if found else int(schema.get("minimum") or 36)
            case "boolean":
                return name.lower().rstrip("s") in self.question.lower() if name else True
            case "null":
                return None
        return self.text(schema, name)

    def object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        properties: dict[str, Any] = schema.get("properties") or {}
        required = schema.get("required") or []
        return {
            name: self.value(each, name, depth + 1)
            for name, each in properties.items()
            if depth < MAX_DEPTH and (name in required or self.is_named(self.resolved(each)))
        }

    def is_named(self, schema: dict[str, Any]) -> bool:
        """Tell whether the question has one of an optional property's values."""
        return any(str(each).lower() in self.question.lower() for each in schema.get("enum") or [])

    def text(self, schema: dict[str, Any], name: str) -> str:
        if name == "content" and (content := CONTENT.search(self.question)):
            return content[1]
        if name == "path" and (path := PATH.search(self.question)):
            return path[0]
        return FORMATS.get(str(schema.get("format"))) or self.place or TEXTS.get(name, f"a {name}" if name else "text")

    def resolved(self, schema: Any) -> dict[str, Any]:
        """Return a schema in place of a reference to it."""
        for _ in range(MAX_DEPTH):
            reference = schema.get("$ref") if isinstance(schema, dict) else None
            if not isinstance(reference, str):
                break
            schema = self.root
            for step in reference.removeprefix("#").split("/"):
                schema = schema.get(step, {}) if step else schema
        return schema if isinstance(schema, dict) else {}
