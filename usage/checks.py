"""System checks of this app: prices that do not apply."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register
from django.db import DatabaseError

from usage.models import ModelPrice


@register(Tags.database)
def prices_are_in_the_currency(app_configs: Any = None, databases: Any = None, **kwargs: Any) -> list[CheckMessage]:
    if not databases:
        return []
    others = ModelPrice.objects.exclude(currency=settings.CURRENCY)
    try:
        currencies = list(others.order_by("currency").values_list("currency", flat=True).distinct()[:20])
        count = others.count()
    except DatabaseError:  # the table does not exist yet
        return []
    if not count:
        return []
    return [
        Warning(
            f"Prices in {', '.join(currencies)} do not apply, since CURRENCY is {settings.CURRENCY}: {count}.",
            hint="Delete them in the admin, or enter them in that currency: nothing is converted.",
            id="usage.W001",
        )
    ]
