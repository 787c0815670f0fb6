"""Reads why an upstream gave no answer from the many shapes of errors. The texts returned are not sanitized."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from completions.providers.sanitize import decode_json

_TEXT_BYTES: Final = 4096
_EVENT: Final = re.compile(rb"\A(?:(?:event|id|retry|):[^\r\n]*[\r\n]+)*data:[ \t]*(\{[^\r\n]*)")
# JSON as a text, or an error in JSON at the end of one
_JSON: Final = re.compile(r"\A\s*(?:\[\s*)?\{|\{\s*\"error\"\s*:")
_MESSAGES: Final = ("message", "msg", "error_msg", "error_message", "faultstring")
# The HTTP status behind the name of an error, for errors without a number: OpenAI, Anthropic, vLLM, Google.
_STATUSES: Final = {
    400: """context_length_exceeded invalid_request_error invalid_request BadRequestError invalid_value invalid_prompt
        string_above_max_length content_policy_violation content_filter unsupported_parameter unsupported_value
        missing_required_parameter exceed_context_size_error InvalidParameter INVALID_ARGUMENT
        invalid_image invalid_image_format invalid_base64_image invalid_image_url invalid_image_mode image_too_large
        image_too_small image_parse_error image_content_policy_violation image_file_too_large bio_policy
        unsupported_image_media_type empty_image_file failed_to_download_image image_file_not_found""",
    401: "invalid_api_key authentication_error AuthenticationError UNAUTHENTICATED",
    403: "permission_error PermissionDeniedError PERMISSION_DENIED",
    404: "model_not_found not_found_error NotFoundError NOT_FOUND",
    413: "request_too_large",
    422: "UnprocessableEntityError validation",
    429: "rate_limit_exceeded rate_limit_error insufficient_quota RateLimitError too_many_requests RESOURCE_EXHAUSTED",
}
_STATUS_OF: Final = {name: status for status, names in _STATUSES.items() for name in names.split()}


class Reason(NamedTuple):
    """An error in the upstream's own words. `status` is the HTTP status that it names or implies, if any."""

    message: Any = None
    code: Any = None
    param: Any = None
    status: int | None = None


def reason_of(body: bytes) -> Reason:
    """Return what the body of an HTTP error says, in JSON of any shape or plain text."""
    try:
        event = _EVENT.search(body)  # of a server that answers a refused stream as a stream
        data = decode_json(event[1] if event else body)
    except ValueError:
        return _unwrapped(Reason(plain_text(body)))
    return error_in(data) or _unwrapped(Reason(data if isinstance(data, str) else None))


def error_in(data: Any) -> Reason | None:
    """Return the error in decoded JSON, also beside choices; None if there is none.

    Known shapes: OpenAI's object, the same in a list (Gemini) or an event (Anthropic), Ollama's string, vLLM's flat
    object, FastAPI's `detail`, Cloudflare's `errors`, Apigee's `fault`, MiniMax's `base_resp`, a `message` alone; and
    each of them as the text of a message.
    """
    reason = _told_in(data)
    return _unwrapped(reason) if reason else None


def _told_in(data: Any) -> Reason | None:
    if isinstance(data, list):
        data = next((item for item in data if isinstance(item, dict)), None)
    if not isinstance(data, dict):
        return None
    error = data.get("error")
    if not error and not data.get("choices"):
        error = data.get("errors") or data.get("fault") or _of_base(data.get("base_resp"))
    if isinstance(error, list):
        error = next((item for item in error if item), None)
    if error and not (isinstance(error, dict) and not any(error.values())):
        return _reason(error, data)
    if "choices" in data:
        return None
    if data.get("object") == "error" or data.get("type") == "error" or isinstance(_message(data), str):
        return _reason(data, data)
    return _of_detail(data["detail"], data) if data.get("detail") else None


def event_error(data: Any) -> Reason:
    """Return what the data of an `event: error` says, of any type."""
    return error_in(data) or (_unwrapped(_reason(data, {})) if isinstance(data, dict | str) else Reason())


def _unwrapped(reason: Reason) -> Reason:
    """Return the error that a gateway passed on as JSON in its own message, or at the end of it."""
    text = reason.message
    begin = _JSON.search(text) if isinstance(text, str) else None
    if begin is None:
        return reason
    try:
        inner = error_in(decode_json(text[begin.start() :].encode("utf-8", "replace")))
    except ValueError:
        return reason
    return Reason(*(new or old for new, old in zip(inner, reason, strict=True))) if inner else reason


def _of_base(base: Any) -> Any:
    """Return MiniMax's `base_resp` if it is an error: it is in every answer, with code 0."""
    if not isinstance(base, dict) or not base.get("status_code"):
        return None
    return {"message": base.get("status_msg"), "code": base["status_code"]}


def _reason(error: Any, around: dict[str, Any]) -> Reason:
    if isinstance(error, str):
        code = around.get("code") or around.get("error_type") or around.get("type")
        code = None if code == "error" else code
        return Reason(error, code, around.get("param"), _status(around, code))
    if not isinstance(error, dict):  # `"error": true` beside a message
        return Reason(_message(around), around.get("code"), around.get("param"), _status(around))
    metadata = error.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None  # OpenRouter: what the server behind it said
    raw = raw if isinstance(raw, str) and _JSON.match(raw) else None
    message, inner = raw or _message(error) or error.get("detail") or error.get("error"), Reason()
    if isinstance(message, list | dict):
        inner = _of_detail(message, error)
        message = inner.message
    code = error.get("code", error.get("error_code"))
    if code is None and isinstance(detail := error.get("detail"), dict):
        code = detail.get("errorcode")
    named = error.get("type") or error.get("status")
    if code is None and isinstance(named, str) and named in _STATUS_OF and named not in _GENERAL:
        code = named
    status = _status(error, code, named) or inner.status or _status(around)
    return Reason(message, code or inner.code, error.get("param") or inner.param, status)


# These types are too general to serve as a code.
_GENERAL = frozenset({"invalid_request_error", "invalid_request"})


def _of_detail(detail: Any, around: dict[str, Any]) -> Reason:
    """Return what FastAPI's `detail` says: a string, an object, or a list of what is wrong with which field."""
    if isinstance(detail, dict):
        return error_in(detail) or _reason(detail, around)
    if not isinstance(detail, list):
        return Reason(detail, around.get("code"), around.get("param"), _status(around))
    wrong, param, validates = [], None, False
    for item in detail:
        if isinstance(item, str):
            wrong.append(item)
        elif isinstance(item, dict) and isinstance(item.get("msg"), str):
            # Without its `input`, which is what the client sent.
            place = item.get("loc")
            place = [str(step) for step in place if step != "body"] if isinstance(place, list) else []
            field = ".".join(place)
            wrong.append(f"{field}: {item['msg']}" if field else item["msg"])
            param, validates = param or field or None, True
    status = _status(around) or (422 if validates else None)
    return Reason("; ".join(wrong[:20]), around.get("code"), param, status)


def _message(error: dict[str, Any]) -> Any:
    return next((error[name] for name in _MESSAGES if error.get(name)), None)


def _status(error: dict[str, Any], *names: Any) -> int | None:
    for name in ("status", "status_code", "http_status", "statusCode", "code"):
        value = error.get(name)
        if isinstance(value, str) and len(value) == 3 and value.isdecimal():
            value = int(value)
        if type(value) is int and 400 <= value < 600:
            return value
    return next((_STATUS_OF[name] for name in names if isinstance(name, str) and name in _STATUS_OF), None)


def is_markup(body: bytes) -> bool:
    """Tell whether a body is HTML or XML."""
    return body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def plain_text(body: bytes) -> str | None:
    """Return the beginning of a body that is plain text; None for markup, broken JSON and what is no text at all."""
    body = body[:_TEXT_BYTES].lstrip(b"\xef\xbb\xbf \t\r\n")
    if body.startswith((b"<", b"{", b"[{")) or b"\x00" in body:
        return None
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        return body[: error.start].decode() if error.start > len(body) - 4 else None
