"""What an answer cost, in OpenRouter's field of the usage object."""

from __future__ import annotations

from typing import Any

from django.conf import settings

from completions.types import RunFinished, Wire
from usage.money import decimal_of


def with_cost(usage: Any, finished: RunFinished) -> Wire | None:
    """Return a usage object with the answer's `cost`, None if no price is known, and the currency beside it."""
    cost = None if finished.cost is None else float(decimal_of(finished.cost))
    return {**(usage if isinstance(usage, dict) else {}), "cost": cost, "currency": settings.CURRENCY}
