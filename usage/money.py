"""Shows amounts of money, which are stored in millionths of the currency."""

from __future__ import annotations

from decimal import Decimal

from django.conf import settings

MILLION = 1_000_000


def decimal_of(amount: int) -> Decimal:
    return Decimal(amount) / MILLION


def plain(amount: int) -> str:
    """Return an amount as a decimal number, without zeros at its end: 12.5, 0.000123."""
    text = f"{decimal_of(amount):.6f}".rstrip("0")
    return text.rstrip(".")


def shown(amount: int) -> str:
    """Return an amount with its currency: 12.50 USD; small ones with all that they have: 0.000123 USD."""
    text = f"{decimal_of(amount):.6f}".rstrip("0")
    whole, _, rest = text.partition(".")
    return f"{whole}.{rest.ljust(2, '0')} {settings.CURRENCY}"
