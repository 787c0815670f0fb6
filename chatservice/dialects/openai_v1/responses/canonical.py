"""One spelling of a JSON value that was stored or not: databases return fields in another order. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

MAX_PLAIN = 1e16  # from here on Python writes floats with an exponent


def canonical(value: Any) -> Any:
    """Return a copy that is spelled alike before and after a database had it.

    PostgreSQL sorts the fields of objects, knows no negative zero, and writes large numbers as whole ones.
    """
    if isinstance(value, Mapping):
        return {name: canonical(value[name]) for name in sorted(value)}
    if isinstance(value, list):
        return [*map(canonical, value)]
    if isinstance(value, float):
        return int(Decimal(repr(value))) if abs(value) >= MAX_PLAIN else value + 0.0
    return value
