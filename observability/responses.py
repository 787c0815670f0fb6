"""The end of a response, for what counts or traces requests: after its last byte, or when its client leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from django.http import HttpRequest, HttpResponseBase

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
LEFT = 499
"""The status, as nginx writes it, of a request whose client left before it was answered."""


async def respond(
    get_response: Callable[[HttpRequest], Awaitable[HttpResponseBase]],
    request: HttpRequest,
    ended: Callable[[int], None],
) -> HttpResponseBase:
    """Return the response, and call `ended` with its status once it is over; with LEFT if the client left before."""
    try:
        response = await get_response(request)
    except asyncio.CancelledError:
        ended(LEFT)
        raise
    if not response.streaming:
        ended(response.status_code)
        return response
    close = response.close

    def closing() -> None:
        close()
        ended(response.status_code)

    response.close = closing  # type: ignore[method-assign]  # the handler calls it once, at the end
    return response
