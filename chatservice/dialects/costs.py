"""What an answer cost: a header of a whole one, or fields of the event or message that ends it."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpResponseBase

from completions.types import RunFinished
from usage.money import plain

HEADER = "x-response-cost"


def add_cost_header(response: HttpResponseBase, finished: RunFinished) -> None:
    """Tell what a whole answer cost, if it is known; a stream's headers are sent before it is."""
    if finished.cost is not None:
        response.headers[HEADER] = f"{plain(finished.cost)} {settings.CURRENCY}"


def cost_of(finished: RunFinished) -> dict[str, Any]:
    """Return the fields `cost`, a decimal number, and `currency`; nothing where no price is known."""
    return {} if finished.cost is None else {"cost": plain(finished.cost), "currency": settings.CURRENCY}
