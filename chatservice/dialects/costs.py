"""What an answer cost, as a field of the event or message that ends it."""

from __future__ import annotations

from typing import Any

from django.conf import settings

from completions.types import RunFinished
from usage.money import plain


def cost_of(finished: RunFinished) -> dict[str, Any]:
    """Return the fields `cost`, a decimal number, and `currency`; nothing where no price is known."""
    return {} if finished.cost is None else {"cost": plain(finished.cost), "currency": settings.CURRENCY}
