"""Tells how much of one OpenAPI document another one has, by counting properties.

The score is the one that OGX publishes about itself: 100 x (1 - (differing + missing) / properties), over the
operations that both documents have. The properties are the reference's: parameters, and all properties of the JSON (or
form) of request and responses, through `$ref`, `allOf`, `oneOf`, `anyOf`, `items` and `additionalProperties`; a
component counts once in each body. One differs by its type, enum, default, whether it may be null, or its alternatives.
What is inside a missing object is missing, too, which OGX does not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chatservice.openapi_shapes import Document, Shape, contents, difference

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Difference:
    """A property that is missing, or not the same. `schema` and `property` say where the reference defines it."""

    where: str
    what: str
    schema: str
    property: str


@dataclass(slots=True)
class Coverage:
    """One operation of the reference."""

    operation: str
    properties: int = 0
    differences: list[Difference] = field(default_factory=list)

    @property
    def score(self) -> float:
        return score([self])


@dataclass(frozen=True, slots=True)
class Location:
    """Where the walk is: in the operation, and in the schema that defines it."""

    where: str
    schema: str
    property: str = ""

    def of(self, name: str) -> Location:
        return Location(f"{self.where}.{name}", self.schema, f"{self.property}.{name}" if self.property else name)

    def within(self, component: str) -> Location:
        return Location(self.where, component)


def score(coverages: Sequence[Coverage]) -> float:
    properties = sum(each.properties for each in coverages)
    wrong = sum(len(each.differences) for each in coverages)
    return 100 * (1 - wrong / properties) if properties else 100.0


def compare(reference: Mapping[str, Any], ours: Mapping[str, Any], *, prefix: str) -> Iterator[Coverage]:
    """Yield the coverage of each operation that both documents have; ours below `prefix`."""
    own = {anonymous(call): operation for call, operation in operations(ours).items()}
    for call, theirs in operations(reference, prefix).items():
        if counterpart := own.get(anonymous(call)):
            yield _Comparison(Document(reference), Document(ours)).operation(call, theirs, counterpart)


def not_served(reference: Mapping[str, Any], ours: Mapping[str, Any], *, prefix: str) -> list[str]:
    """Return the operations that only the reference has."""
    own = set(map(anonymous, operations(ours)))
    return [call for call in operations(reference, prefix) if anonymous(call) not in own]


def operations(document: Mapping[str, Any], prefix: str = "") -> dict[str, Mapping[str, Any]]:
    """Return each operation by method and path."""
    return {
        f"{method.upper()} {prefix}{path}": item[method]
        for path, item in document["paths"].items()
        for method in METHODS
        if method in item
    }


def anonymous(call: str) -> str:
    """Return method and path without the names of the path's parameters: they do not matter to a client."""
    return re.sub(r"{[^}]*}", "{}", call)


class _Comparison:
    """Compares one operation."""

    def __init__(self, reference: Document, ours: Document) -> None:
        self.reference, self.ours = reference, ours
        self.coverage = Coverage("")
        self._visited: set[str] = set()

    def operation(self, call: str, theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> Coverage:
        self.coverage = Coverage(call)
        self._parameters(call, theirs.get("parameters", ()), mine.get("parameters", ()))
        for media_type, schema in contents(theirs.get("requestBody", {})):
            self._body("request", schema, dict(contents(mine.get("requestBody", {}))).get(media_type))
        for status, response in theirs.get("responses", {}).items():
            counterpart = dict(contents(mine.get("responses", {}).get(status, {})))
            for media_type, schema in contents(response):
                self._body(f"response {status}", schema, counterpart.get(media_type))
        return self.coverage

    def _parameters(self, call: str, theirs: Sequence[Any], mine: Sequence[Any]) -> None:
        own = [each for each in mine if each["in"] == "path"]
        by_name = {(each["in"], each["name"]): each for each in mine}
        for parameter in theirs:
            if parameter["in"] == "path":
                counterpart = own.pop(0) if own else None
            else:
                counterpart = by_name.get((parameter["in"], parameter["name"]))
            location = Location(f"parameter {parameter['name']}", call, parameter["name"])
            self._count(location, parameter["schema"], counterpart["schema"] if counterpart else None)

    def _body(self, where: str, theirs: Shape, mine: Shape | None) -> None:
        self._visited = set()
        self._walk(theirs, mine, Location(where, ""))

    def _walk(self, theirs: Shape, mine: Shape | None, location: Location) -> None:
        """Count the properties in a schema of the reference; `mine` is None where ours has none like it."""
        if component := theirs.get("$ref"):
            if component not in self._visited:
                self._visited.add(component)
                self._walk(self.reference.at(component), mine, location.within(component.rpartition("/")[2]))
            return
        for name, schema in theirs.get("properties", {}).items():
            counterpart = self._counterpart(schema, list(self.ours.properties_of(mine, name)))
            self._count(location.of(name), schema, counterpart)
            self._walk(schema, counterpart, location.of(name))
        for part in theirs.get("allOf", ()):
            self._walk(part, mine, location)
        for variant in (*theirs.get("oneOf", ()), *theirs.get("anyOf", ())):
            self._walk(variant, self.ours.like(mine, variant, self.reference), location)
        for keyword in ("items", "additionalProperties"):
            if isinstance(theirs.get(keyword), dict):
                self._walk(theirs[keyword], self.ours.inside(mine, keyword), location)

    def _counterpart(self, theirs: Shape, mine: Sequence[Shape]) -> Shape | None:
        """Return the one that is the same, or the first one: the parts of an `allOf` may each have the property."""
        wanted = self.reference.facets(theirs)
        same = (each for each in mine if not difference(wanted, self.ours.facets(each)))
        return next(same, mine[0] if mine else None)

    def _count(self, location: Location, theirs: Shape, mine: Shape | None) -> None:
        self.coverage.properties += 1
        what = MISSING if mine is None else difference(self.reference.facets(theirs), self.ours.facets(mine))
        if what:
            self.coverage.differences.append(Difference(location.where, what, location.schema, location.property))
