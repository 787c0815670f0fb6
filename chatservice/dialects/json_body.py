"""Reading JSON from strangers: bounded in size, depth and keys, and storable in any database."""

from __future__ import annotations

from typing import Any

import msgspec
from django.conf import settings
from django.http import HttpRequest
from rest_framework.parsers import JSONParser

from chatservice.dialects.problems import TOO_LARGE, BadRequest

_decoder = msgspec.json.Decoder()


def read_json(request: HttpRequest) -> Any:
    """Return the request's JSON value; raises BadRequest (400, 413, 415)."""
    if getattr(request, "too_large", False):
        raise BadRequest(TOO_LARGE.message, code=TOO_LARGE.code, status=TOO_LARGE.status)
    kind = request.META.get("CONTENT_TYPE", "")
    media_type, _, parameters = kind.partition(";")
    if media_type.strip().lower() not in ("application/json", "text/json", "") and not media_type.strip().endswith(
        "+json"
    ):
        raise BadRequest("Send JSON: 'Content-Type: application/json'.", code="unsupported_media_type", status=415)
    if "charset" in parameters.lower() and "utf-8" not in parameters.lower().replace("utf8", "utf-8"):
        raise BadRequest("Send UTF-8.", code="unsupported_media_type", status=415)
    return parse_json(request.body)


def read_object(request: HttpRequest) -> dict[str, Any]:
    """Return the request's JSON object; an empty body is an empty object."""
    value = read_json(request) if request.body or getattr(request, "too_large", False) else {}
    if not isinstance(value, dict):
        raise BadRequest("The body must be a JSON object.")
    return value


def parse_json(body: bytes) -> Any:
    """Decode `body`; raises BadRequest for what is not JSON, too deep, too wide or not storable."""
    try:
        value = _decoder.decode(body)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise BadRequest("The body is not valid JSON.", code="invalid_json") from error
    # Most bodies cannot break a limit, which a count of brackets shows sooner than a walk.
    if (
        body.count(b"{") + body.count(b"[") > settings.LIMIT_JSON_DEPTH
        or body.count(b":") > settings.LIMIT_JSON_KEYS
        or b"\\u0000" in body
    ):
        _check(value, 1)
    return value


def _check(value: Any, depth: int) -> None:
    if depth > settings.LIMIT_JSON_DEPTH and isinstance(value, (dict, list)):
        raise BadRequest("The body is nested too deeply.", code="json_too_deep")
    if isinstance(value, dict):
        if len(value) > settings.LIMIT_JSON_KEYS:
            raise BadRequest("An object in the body has too many keys.", code="json_too_wide")
        for name, item in value.items():
            _check_text(name)
            _check(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth + 1)
    elif isinstance(value, str):
        _check_text(value)


def _check_text(text: str) -> None:
    if "\x00" in text:
        raise BadRequest("Text must not contain NUL characters.", code="nul_character")


class StrictJSONParser(JSONParser):
    """The same for DRF's views."""

    def parse(self, stream, media_type=None, parser_context=None):
        request = parser_context["request"]
        return read_json(getattr(request, "_request", request))
