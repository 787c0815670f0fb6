"""Whether an answer continues or stops if its client leaves before the end."""

from __future__ import annotations

import asyncio
import functools
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from django.conf import settings
from django.http import HttpRequest
from drf_spectacular.utils import OpenApiParameter

from chatservice.dialects.problems import BadRequest
from completions.leaving import stop_soon, stop_unless_followed

T = TypeVar("T")

HEADER = "X-On-Disconnect"
WISHES = ("continue", "cancel")
ON_DISCONNECT = OpenApiParameter(
    HEADER,
    str,
    OpenApiParameter.HEADER,
    enum=WISHES,
    description="Whether the answer continues or stops if this client disconnects before the end",
)


@dataclass(frozen=True, slots=True)
class Leaving:
    """What one request wants. `until_left` waits until its client is gone; None if nobody can tell."""

    cancels: bool = False
    until_left: Callable[[], Awaitable[None]] | None = None

    async def wait(self, run_id: uuid.UUID, waiting: Callable[[], Awaitable[T]]) -> T:
        """Return the result of `waiting`, which reads the run. If the client leaves before that, stop the run."""
        if not self.cancels or self.until_left is None:
            return await waiting()
        answering, left = asyncio.ensure_future(waiting()), asyncio.ensure_future(self.until_left())
        try:
            await asyncio.wait({answering, left}, return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                return await answering
        finally:
            for task in (answering, left):
                task.cancel()
            await asyncio.gather(answering, left, return_exceptions=True)
        await stop_unless_followed(run_id)
        return await waiting()  # the run is over, or continues for other readers

    def when_left(self, run_id: uuid.UUID, events: AsyncGenerator[Any, None]) -> Callable[[], object] | None:
        """Return what to call if the reader of `events` leaves before their end; None if nothing is to be done."""
        if not self.cancels:
            return None
        # From any thread: a response may be closed in another one.
        return functools.partial(asyncio.get_running_loop().call_soon_threadsafe, stop_soon, run_id, events)


def read_leaving(request: HttpRequest, dialect: str, *, keyed: bool) -> Leaving:
    """Return what the header asks for, or else the dialect's setting; raises BadRequest.

    `keyed` requests have an Idempotency-Key: their clients come back for the answer, so the setting does not apply.
    """
    return Leaving(cancels(request.headers.get(HEADER), dialect, keyed=keyed), getattr(request, "until_left", None))


def cancels(wish: str | None, dialect: str, *, keyed: bool) -> bool:
    """Tell whether leaving stops the answer. `wish` is the header's value, if it was sent; raises BadRequest."""
    if wish is None:
        return not keyed and settings.ON_DISCONNECT[dialect] == "cancel"
    if wish.strip().lower() not in WISHES:
        raise BadRequest(f"{HEADER} must be 'continue' or 'cancel'.", code="invalid_on_disconnect", param=HEADER)
    return wish.strip().lower() == "cancel"
