"""Turns an upstream's refusal, or a broken connection, into our exceptions. Foreign text is always sanitized."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

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
from completions.providers.reasons import Reason, is_markup, plain_text, reason_of
from completions.providers.sanitize import safe_code, safe_message

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
    return _rejected(status, reason_of(body), *secrets)


def reported(reason: Reason, *secrets: str) -> ProviderError:
    """Return the exception for an error inside a 200, never `unbilled`: something may have been generated."""
    failure = _reported(reason, *secrets)
    failure.unbilled = failure.refused = False
    return failure


def _reported(reason: Reason, *secrets: str) -> ProviderError:
    status = reason.status or 502
    if status in (401, 402, 403, 408, 429):
        return refusal(status, {}, b"")
    if 400 <= status < 500:
        return _rejected(status, reason, *secrets)
    code, message = safe_code(reason.code, *secrets), safe_message(reason.message, *secrets)
    text = f"The model's server reported an error{f' (code {code})' if code.isdecimal() else ''}: {message}"
    nothing = f"The model's server reported an error while answering{f' (code {code})' if code else ''}."
    failure = UpstreamFailed(text if message else nothing)
    failure.upstream_code = None if code.isdecimal() else code or None
    return failure


def _rejected(status: int, reason: Reason, *secrets: str) -> UpstreamRejected:
    return UpstreamRejected(
        safe_message(reason.message, *secrets),
        status=status,
        upstream_code=safe_code(reason.code, *secrets) or None,
        param=safe_message(reason.param, *secrets, limit=200) or None,
    )


def no_answer(raw: bytes, *secrets: str) -> UpstreamInvalid:
    """Return the exception for a body that is not JSON, with the beginning of a plain text but nothing of a page."""
    if is_markup(raw):
        return UpstreamInvalid("The model's server sent a web page instead of an answer.")
    message = safe_message(plain_text(raw), *secrets)
    return UpstreamInvalid(f"The model's server sent text instead of an answer: {message}" if message else "")


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
