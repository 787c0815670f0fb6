"""Makes foreign values storable in any database: without NUL, lone surrogates and infinite numbers."""

from __future__ import annotations

import hashlib
import math
import re
from typing import Any

DEPTH = 64
HALVES = re.compile("[\ud800-\udfff]")  # halves of surrogate pairs, from broken escapes


def is_storable(value: str) -> bool:
    """Tell whether a database accepts `value` unchanged: it has no NUL and no half of a surrogate pair."""
    try:
        return b"\x00" not in value.encode()
    except UnicodeEncodeError:
        return False


def storable_text(value: str, most: int | None = None) -> str:
    """Return `value` without NUL, with lone surrogates as U+FFFD, cut to `most` characters."""
    if not value.isascii():
        value = HALVES.sub("\ufffd", value)
    if "\x00" in value:
        value = value.replace("\x00", "")
    return value if most is None or len(value) <= most else value[:most]


def storable_name(value: str, most: int) -> str:
    """Return an id of at most `most` characters; a longer one becomes its hash, so different ids stay different."""
    name = storable_text(value)
    return name if len(name) <= most else f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"


def storable_json(value: Any, depth: int = DEPTH) -> Any:
    """Return a JSON value that PostgreSQL also accepts; values deeper than `depth` become null."""
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return (
            {storable_text(str(name)): storable_json(each, depth - 1) for name, each in value.items()}
            if depth
            else None
        )
    if isinstance(value, (list, tuple)):
        return [storable_json(each, depth - 1) for each in value] if depth else None
    return value
