"""The Idempotency-Key header, or `client_message_id` in a body: the same key and request is the same run."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from django.http import HttpRequest
from rest_framework import serializers

from chatservice.dialects.problems import BadRequest

PATTERN = re.compile(r"[\x21-\x7e]{1,255}\Z")

KEY = {"type": "string", "pattern": r"^[\x21-\x7e]{1,255}$"}


def client_message_id_field() -> serializers.RegexField:
    return serializers.RegexField(
        KEY["pattern"],
        required=False,
        allow_null=True,
        trim_whitespace=False,
        help_text="same as Idempotency-Key, for clients that cannot set headers",
    )


def key_of(request: HttpRequest, client_message_id: str | None = None) -> str:
    """Return the key of a request, from its header or the `client_message_id` in its body; raises BadRequest."""
    header = request.headers.get("idempotency-key")
    return idempotency_key(client_message_id if header is None else header)


def route_of(request: HttpRequest) -> str:
    """Return method and path, without the closing slash: every route answers with it or without."""
    return f"{request.method} {request.path_info.rstrip('/')}"


def idempotency_key(value: str | None) -> str:
    """Return the key, or '' if there is none; raises BadRequest."""
    if value is None:
        return ""
    if PATTERN.match(value) is None:
        raise BadRequest("An Idempotency-Key is 1 to 255 visible ASCII characters.", code="invalid_idempotency_key")
    return value


def fingerprint(*parts: Any) -> str:
    """Return a digest of any JSON values, in canonical form, that tells apart two requests with the same key."""
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()
