"""The rows of the matrix: an operation, whom it admits, what it touches, and where it takes an id."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

PLACEHOLDER = re.compile(r"<([a-z.]+)>")
PARAMETER = re.compile(r"\{([a-z]+)\}")


class Admits(StrEnum):
    ANYONE = "anyone, with or without a key"
    GUESTS = "guests where they are admitted, and every key"
    KEYS = "keys only"


@dataclass(frozen=True, slots=True)
class Probe:
    """One request with somebody's ids in one position, written `<conversation>`; `<own.run>` is the caller's own.

    `outcome` is the status or code that a foreign id and an unknown id must both get.
    `reaches` says whether the owner must get a different outcome, which shows that the probe works.
    """

    position: str
    path: str = ""
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    outcome: str = "404"
    reaches: bool = True


@dataclass(frozen=True, slots=True)
class Row:
    """`body` and `query` are valid; `harmless` lists positions that look like an id but cannot name anybody's."""

    operation: str
    admits: Admits
    touches: tuple[str, ...] = ()
    probes: tuple[Probe, ...] = ()
    body: Any = None
    harmless: tuple[str, ...] = ()
    query: str = ""

    @property
    def kind(self) -> str:
        return self.operation.partition(" ")[0]

    @property
    def target(self) -> str:
        return self.operation.partition(" ")[2]

    def own_path(self) -> str:
        """Return the path of an HTTP row with the caller's own ids."""
        return PARAMETER.sub(r"<own.\1>", self.target) + self.query


def http(
    operation: str,
    *touches: str,
    admits: Admits = Admits.GUESTS,
    body: Any = None,
    more: tuple[Probe, ...] = (),
    **kw: Any,
) -> Row:
    """Declare an HTTP operation; `{run}` in its path is an id of that kind, and is probed."""
    path = operation.partition(" ")[2]
    probes = [Probe(f"path {name}", PARAMETER.sub(r"<\1>", path), body) for name in PARAMETER.findall(path)[:1]]
    return Row(operation, admits, touches, (*probes, *more), body, **kw)


def idempotency(path: str, body: Any, outcome: str = "200", *, in_body: bool = True) -> tuple[Probe, ...]:
    """Return probes that send a caller's own request with somebody else's idempotency key, by header or in the body."""
    header = Probe("header Idempotency-Key", path, body, {"Idempotency-Key": "<key>"}, outcome, reaches=False)
    if not in_body:
        return (header,)
    named = {**body, "client_message_id": "<key>"}
    return header, Probe("body client_message_id", path, named, outcome=outcome, reaches=False)


def anonymous(operation: str) -> str:
    """Return an operation without parameter names, to compare documents with routes."""
    return re.sub(r"\{[^}]+\}", "{}", operation)


def filled(value: Any, values: Mapping[str, str]) -> Any:
    """Return `value` with its placeholders replaced."""
    if isinstance(value, str):
        return PLACEHOLDER.sub(lambda match: values[match[1]], value)
    if isinstance(value, Mapping):
        return {name: filled(each, values) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [filled(each, values) for each in value]
    return value
