"""What an answer cost, in OpenAI's wire: a header, and OpenRouter's field of the usage object."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpResponseBase

from completions.types import RunFinished, Wire
from usage.money import decimal_of, plain

HEADER = "x-response-cost"


def with_cost(usage: Any, finished: RunFinished) -> Wire | None:
    """Return a usage object with the answer's `cost`, None if no price is known, and the currency beside it."""
    cost = None if finished.cost is None else float(decimal_of(finished.cost))
    return {**(usage if isinstance(usage, dict) else {}), "cost": cost, "currency": settings.CURRENCY}


def add_cost_header(response: HttpResponseBase, finished: RunFinished) -> None:
    """Tell what a whole answer cost; a stream's headers are sent before that is known."""
    if finished.cost is not None:
        response.headers[HEADER] = f"{plain(finished.cost)} {settings.CURRENCY}"
