"""Reads JSON from untrusted clients: limited in size, depth and keys, and storable in any database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

import msgspec
from django.conf import settings
from django.http import HttpRequest
from rest_framework.parsers import JSONParser

from chatservice.dialects.embedded_content import restore_others
from chatservice.dialects.problems import BadRequest, refuse_bad_body
from files.embedded import taken_out

BOM = "\ufeff"
CONTAINERS = (dict, list)
_decoder = msgspec.json.Decoder()


def read_json(request: HttpRequest) -> Any:
    """Return the request's JSON value; raises BadRequest (400, 413, 415)."""
    refuse_bad_body(request)
    kind = request.META.get("CONTENT_TYPE", "")
    media_type, _, parameters = kind.partition(";")
    if media_type.strip().lower() not in ("application/json", "text/json", "") and not media_type.strip().endswith(
        "+json"
    ):
        raise BadRequest("Send JSON: 'Content-Type: application/json'.", code="unsupported_media_type", status=415)
    if "charset" in parameters.lower() and "utf-8" not in parameters.lower().replace("utf8", "utf-8"):
        raise BadRequest("Send UTF-8.", code="unsupported_media_type", status=415)
    value = parse_json(request.body)
    if embedded := taken_out():
        restore_others(value, embedded, size=len(request.body))
    return value


def read_object(request: HttpRequest) -> dict[str, Any]:
    """Return the request's JSON object; an empty body is an empty object."""
    refuse_bad_body(request)
    value = read_json(request) if request.body else {}
    if not isinstance(value, dict):
        raise BadRequest("The body must be a JSON object.")
    return value


def parse_json(body: bytes) -> Any:
    """Decode `body`; raises BadRequest if it is not JSON, too deep, too wide or not storable."""
    body = body.removeprefix(BOM.encode())  # .NET and PowerShell send it
    try:
        value = _decoder.decode(body)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise BadRequest("The body is not valid JSON.", code="invalid_json") from error
    # Counting brackets is faster than a walk, and is enough to show that most bodies are within the limits.
    if (
        body.count(b"{") + body.count(b"[") > settings.LIMIT_JSON_DEPTH
        or body.count(b":") > settings.LIMIT_JSON_KEYS
        or b"\\u0000" in body
    ):
        check_bounds(value, texts=b"\\u0000" in body)
    return value


def check_bounds(value: Any, *, texts: bool, what: str = "body") -> None:
    """Check depth and keys of a JSON value, with `texts` also for NUL; errors call it `what`. Raises BadRequest."""
    # Level by level, because recursion would be slower and this blocks the event loop.
    level, depth = [value], 0
    max_depth, max_keys = settings.LIMIT_JSON_DEPTH, settings.LIMIT_JSON_KEYS  # reading a setting is slow
    while level:
        if texts and any(isinstance(each, str) and "\x00" in each for each in level):
            raise BadRequest("Text must not contain NUL characters.", code="nul_character")
        level = [each for each in level if isinstance(each, CONTAINERS)]
        depth += 1
        if level and max_depth and depth > max_depth:
            too_deep = f"The {what} has more than {max_depth} levels (LIMIT_JSON_DEPTH)."
            raise BadRequest(too_deep, code="json_too_deep")
        below: list[Any] = []
        for container in level:
            if isinstance(container, list):
                below += container
                continue
            if max_keys and len(container) > max_keys:
                too_wide = f"An object in the {what} has more than {max_keys} keys (LIMIT_JSON_KEYS)."
                raise BadRequest(too_wide, code="json_too_wide")
            below += container.values()
            if texts:
                below += container
        level = below


class StrictJSONParser(JSONParser):
    """Applies the same checks in DRF's views."""

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        request = parser_context["request"]  # type: ignore[index]  # DRF always gives it
        return read_json(getattr(request, "_request", request))
