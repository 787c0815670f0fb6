"""Turns an upstream's refusal, or a broken connection, into our exceptions. Foreign text is always sanitized."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import aiohttp

from completions.exceptions import (
    ProviderError,
    UpstreamFailed,
    UpstreamInvalid,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnauthorized,
    UpstreamUnreachable,
)
from completions.providers.sanitize import decode_json, safe_code, safe_message

RETRY_AFTER_CAP: Final = 120
_OVERLOADED = (503, 529)
_NOTHING_BEGUN = 503


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> int | None:
    """Return the whole seconds that the upstream asks us to wait, at most 120; None if no header says so."""
    milliseconds = headers.get("retry-after-ms", "").strip()
    value = headers.get("retry-after", "").strip()
    try:
        seconds = float(milliseconds) / 1000 if milliseconds else float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except (ValueError, IndexError, TypeError, OverflowError):
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds = max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())
    if not math.isfinite(seconds) or seconds < 0:
        return None
    return min(math.ceil(seconds), RETRY_AFTER_CAP)


def refusal(status: int, headers: Mapping[str, str], body: bytes, *secrets: str) -> ProviderError:
    """Return the exception for a non-2xx response, `unbilled` if it is certain that nothing was generated."""
    if status < 400:
        return UpstreamInvalid("The model's server answered with a redirect, which is not followed.")
    if status in (401, 403):
        return UpstreamUnauthorized()
    if status == 402:
        return UpstreamUnauthorized("The model's server asks this service for payment.")
    if status == 408:
        return UpstreamTimeout()
    if status == 429:
        return UpstreamRateLimited(retry_after=retry_after(headers))
    if status >= 500:
        wait = retry_after(headers) if status in _OVERLOADED else None
        failure = UpstreamFailed(f"The model's server failed (HTTP {status}).", retry_after=wait)
        failure.unbilled, failure.refused = status == _NOTHING_BEGUN, True
        return failure
    message, code, param = _error_parts(body)
    return UpstreamRejected(
        safe_message(message, *secrets),
        status=status,
        upstream_code=safe_code(code, *secrets) or None,
        param=safe_message(param, *secrets, limit=200) or None,
    )


def _error_parts(body: bytes) -> tuple[Any, Any, Any]:
    """Return message, code and param of an error body as OpenAI, vLLM (flat), Ollama (string) or FastAPI write it."""
    try:
        data = decode_json(body)
    except ValueError:
        return None, None, None
    if not isinstance(data, dict):
        return None, None, None
    error = data.get("error")
    if isinstance(error, dict):
        return error.get("message"), error.get("code"), error.get("param")
    if isinstance(error, str):
        return error, data.get("code"), data.get("param")
    return data.get("message") or data.get("detail"), data.get("code"), data.get("param")


def broken_connection(error: BaseException) -> ProviderError:
    """Return the exception for a request without a response, `unbilled` if it is certain that it was never sent."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(
            seen, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.ClientHttpProxyError
        ):
            unreachable = UpstreamUnreachable()
            unreachable.unbilled = True
            return unreachable
        if isinstance(seen, aiohttp.InvalidURL):
            return UpstreamUnreachable("The model's server has no valid address.")
        if isinstance(seen, aiohttp.ClientResponseError | aiohttp.ClientPayloadError):
            return UpstreamInvalid()
        seen = seen.__cause__ or seen.__context__
    return UpstreamUnreachable("The model's server closed the connection without an answer.")
