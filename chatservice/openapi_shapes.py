"""Reads schemas of OpenAPI documents so that two that mean the same look the same, however they are written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Shape = Mapping[str, Any]
MEDIA_TYPES = ("application/json", "multipart/form-data")
UNIONS = ("oneOf", "anyOf")


@dataclass(frozen=True, slots=True)
class Facets:
    """What two properties are compared by."""

    alternatives: tuple[str, ...]
    nullable: bool
    default: Any


@dataclass(frozen=True, slots=True)
class Document:
    """A document, for looking up what its references lead to."""

    content: Mapping[str, Any]

    def at(self, reference: str) -> Shape:
        found: Any = self.content
        for name in reference.removeprefix("#/").split("/"):
            found = found[name]
        resolved: Shape = found
        return resolved

    def facets(self, schema: Shape) -> Facets:
        alternatives = list(self.alternatives(schema))
        signatures = {self.signature(each) for each in alternatives if not _is_null(each)}
        return Facets(tuple(sorted(signatures)), self.nullable(schema), self._default(schema))

    def alternatives(self, schema: Shape) -> Iterator[Shape]:
        """Yield a schema without references and unions, or the schemas that it is a union of."""
        if "$ref" in schema:
            yield from self.alternatives(self.at(schema["$ref"]))
            return
        unions = [variant for keyword in UNIONS for variant in schema.get(keyword, ())]
        for variant in unions:
            yield from self.alternatives(variant)
        if not unions:
            parts = schema.get("allOf", ())
            yield from self.alternatives(parts[0]) if len(parts) == 1 and "properties" not in schema else [schema]

    def nullable(self, schema: Shape) -> bool:
        if "$ref" in schema:
            return schema.get("nullable") is True or self.nullable(self.at(schema["$ref"]))
        if schema.get("nullable") is True or _is_null(schema) or "null" in _types(schema):
            return True
        parts = [part for keyword in (*UNIONS, "allOf") for part in schema.get(keyword, ())]
        return any(self.nullable(part) for part in parts)

    def signature(self, schema: Shape) -> str:
        """Return what a schema without unions is: its type and enum, and the same of its items."""
        types = [each for each in _types(schema) if each != "null"]
        if not types and (schema.get("properties") or schema.get("allOf")):
            types = ["object"]
        said: dict[str, Any] = {"type": types} if types else {}
        values = [schema["const"]] if "const" in schema else schema.get("enum", ())
        if values:
            said["enum"] = sorted(str(value) for value in values if value is not None)
        for keyword in ("items", "additionalProperties"):
            if isinstance(schema.get(keyword), dict) and schema[keyword]:
                said[keyword] = self.facets(schema[keyword]).alternatives
        if kind := self._kind(schema):
            said["kind"] = kind
        return json.dumps(said, sort_keys=True)

    def properties_of(self, schema: Shape | None, name: str) -> Iterator[Shape]:
        """Yield the property `name` from each part of the schema that has it."""
        if schema is None:
            return
        if "$ref" in schema:
            yield from self.properties_of(self.at(schema["$ref"]), name)
            return
        if name in schema.get("properties", {}):
            yield schema["properties"][name]
        for part in (part for keyword in ("allOf", *UNIONS) for part in schema.get(keyword, ())):
            yield from self.properties_of(part, name)

    def like(self, schema: Shape | None, variant: Shape, other: Document) -> Shape | None:
        """Return the alternative of `schema` that stands for `variant`, which is part of a union of `other`."""
        if schema is None:
            return None
        wanted = {other.signature(each) for each in other.alternatives(variant)}
        for each in self.variants(schema):
            if "$ref" in variant and each.get("$ref") == variant["$ref"]:
                return each
        for each in self.variants(schema):
            if wanted == {self.signature(alternative) for alternative in self.alternatives(each)}:
                return each
        return None

    def variants(self, schema: Shape) -> list[Shape]:
        """Return the alternatives of a union as they are written; of any other schema itself."""
        if "$ref" in schema and not any(key in self.at(schema["$ref"]) for key in (*UNIONS, "$ref")):
            return [schema]
        resolved = self.at(schema["$ref"]) if "$ref" in schema else schema
        unions = [variant for keyword in UNIONS for variant in resolved.get(keyword, ())]
        return [schema, *(inner for variant in unions for inner in self.variants(variant))] if unions else [schema]

    def inside(self, schema: Shape | None, keyword: str) -> Shape | None:
        """Return the schema of the items, or of the additional properties."""
        for each in self.alternatives(schema) if schema is not None else ():
            if isinstance(each.get(keyword), dict):
                found: Shape = each[keyword]
                return found
        return None

    def _default(self, schema: Shape) -> Any:
        if schema.get("default") is not None:
            return schema["default"]
        if "$ref" in schema:
            return self._default(self.at(schema["$ref"]))
        variants = (part for keyword in (*UNIONS, "allOf") for part in schema.get(keyword, ()))
        return next((found for each in variants if (found := self._default(each)) is not None), None)

    def _kind(self, schema: Shape) -> str:
        """Return what the schema's own `type` property must be, by which OpenAI tells alternatives apart."""
        kind = next(self.properties_of(schema, "type"), {})
        return ",".join(sorted(map(str, [kind["const"]] if "const" in kind else kind.get("enum", ()))))


def contents(body: Mapping[str, Any]) -> Iterator[tuple[str, Shape]]:
    """Yield media type and schema of the bodies that are counted: a stream has the schemas of what it streams."""
    for media_type, content in body.get("content", {}).items():
        if media_type in MEDIA_TYPES and "schema" in content:
            yield media_type, content["schema"]


def difference(theirs: Facets, mine: Facets) -> str:
    """Say how two properties differ; empty if they do not."""
    said = []
    if lost := [each for each in theirs.alternatives if each not in mine.alternatives]:
        said.append(f"without {', '.join(lost)}")
    if added := [each for each in mine.alternatives if each not in theirs.alternatives]:
        said.append(f"with {', '.join(added)}")
    if theirs.nullable != mine.nullable:
        said.append("may be null" if mine.nullable else "may not be null")
    if theirs.default != mine.default:
        said.append(f"default {json.dumps(mine.default)} instead of {json.dumps(theirs.default)}")
    return "; ".join(said)


def _types(schema: Shape) -> list[str]:
    types = schema.get("type", ())
    return [types] if isinstance(types, str) else sorted(types)


def _is_null(schema: Shape) -> bool:
    return schema.get("type") == "null" or schema.get("enum") == [None]
