"""Ids of rows that are made from what the rows stand for: two processes that begin one make the same."""

from __future__ import annotations

import uuid
from hashlib import blake2b
from typing import Any


def row_id(*key: Any) -> uuid.UUID:
    return uuid.UUID(bytes=blake2b(repr(tuple(map(str, key))).encode(), digest_size=16).digest())
