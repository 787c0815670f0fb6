"""The Idempotency-Key header: the same key and request is the same run."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from chatservice.dialects.problems import BadRequest

PATTERN = re.compile(r"[\x21-\x7e]{1,255}\Z")


def idempotency_key(value: str | None) -> str:
    """Return the key, or the empty text when there is none; raises BadRequest."""
    if not value:
        return ""
    if PATTERN.match(value) is None:
        raise BadRequest("An Idempotency-Key is 1 to 255 visible ASCII characters.", code="invalid_idempotency_key")
    return value


def fingerprint(*parts: Any) -> str:
    """Return what tells two requests under one key apart: any JSON values, canonically."""
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()
