"""Prices for tests."""

from __future__ import annotations

import datetime as dt
from typing import Any

from usage.models import ModelPrice

JANUARY = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
JUNE = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
DECEMBER = dt.datetime(2026, 12, 1, tzinfo=dt.UTC)


def add_price(model: str, input: str = "1", output: str = "2", **values: Any) -> ModelPrice:
    """Store a price in USD, from January 2026 unless `valid_from` says otherwise."""
    values = {"currency": "USD", "valid_from": JANUARY, **values}
    return ModelPrice.objects.create(model=model, input=input, output=output, **values)
