"""The prices that staff entered, kept in memory for a few seconds: a request looks its price up without a query."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from usage.models import ModelPrice
from usage.price_values import Price, Rates

OWN = "own"
KEPT_SECONDS = 5.0
"""How soon a changed price applies in the other processes; in the one that changed it, it applies at once."""
MAX_REMEMBERED = 4_096
Names = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OwnPrice:
    """A row, ready to use."""

    model: str
    upstream: str
    valid_from: dt.datetime
    price: Price

    def matches(self, names: Names, upstream: str) -> bool:
        return (not self.upstream or _matches(upstream, self.upstream)) and any(
            _matches(name, self.model) for name in names
        )

    def rank(self) -> tuple[bool, bool, int, bool, int, dt.timedelta]:
        """Return what sorts the price that applies first: the most specific one, then the newest."""
        epoch = dt.datetime.min.replace(tzinfo=dt.UTC)
        return (
            not self.upstream,
            *(_is_pattern(self.upstream), -len(self.upstream)),
            *(_is_pattern(self.model), -len(self.model)),
            epoch - self.valid_from,
        )


@dataclass(frozen=True, slots=True)
class PriceTable:
    """All own prices in one currency, and what was looked up in them."""

    version: tuple[int, dt.datetime | None]
    by_name: dict[str, list[OwnPrice]] = field(default_factory=lambda: defaultdict(list))
    patterns: list[OwnPrice] = field(default_factory=list)
    remembered: dict[tuple[Names, str], tuple[OwnPrice, ...]] = field(default_factory=dict)

    def candidates(self, names: Names, upstream: str) -> tuple[OwnPrice, ...]:
        """Return the prices for a model at an upstream, the ones that go before others first."""
        found = self.remembered.get((names, upstream))
        if found is None:
            exact = [price for name in names for price in self.by_name.get(name, ())]
            matching = [price for price in [*exact, *self.patterns] if price.matches(names, upstream)]
            found = tuple(sorted(matching, key=OwnPrice.rank))
            if len(self.remembered) >= MAX_REMEMBERED:
                self.remembered.clear()
            self.remembered[names, upstream] = found
        return found


class PriceTables:
    """The table of each currency (there is one but in tests), read again when it is old and has changed.

    Threads share it and never wait for each other: one that waited inside a transaction could hold the connection that
    the reading thread needs.
    """

    def __init__(self) -> None:
        self._tables: dict[str, tuple[PriceTable, float]] = {}  # with the monotonic time at which it was compared
        self._reading = threading.Lock()
        self._forgotten = 0

    def table(self, currency: str) -> PriceTable:
        table, compared = self._tables.get(currency, (None, 0.0))
        if table is None:
            return self._read(currency, None)
        if time.monotonic() - compared < KEPT_SECONDS or not self._reading.acquire(blocking=False):
            return table
        try:
            return self._read(currency, table)
        finally:
            self._reading.release()

    def forget(self) -> None:
        self._forgotten += 1
        self._tables = {}

    def _read(self, currency: str, known: PriceTable | None) -> PriceTable:
        forgotten, now = self._forgotten, time.monotonic()
        prices = ModelPrice.objects.in_currency(currency)
        version = prices.version()
        table = known if known is not None and known.version == version else _table_of(prices, version)
        if forgotten == self._forgotten:  # else it may have been read before the change
            self._tables[currency] = table, now
        return table


_tables = PriceTables()


def own_price_of(names: Names, upstream: str, at: dt.datetime) -> Price | None:
    """Return the own price for a model that has `names` at an upstream; None if there is none."""
    candidates = _tables.table(settings.CURRENCY).candidates(names, upstream)
    return next((each.price for each in candidates if each.valid_from <= at), None)


def forget_own_prices() -> None:
    _tables.forget()


@receiver([post_save, post_delete], sender=ModelPrice)
def prices_changed(**kwargs: Any) -> None:
    """Read the prices again: in this transaction, and once it is committed."""
    forget_own_prices()
    transaction.on_commit(forget_own_prices)


def _table_of(prices: Iterable[ModelPrice], version: tuple[int, dt.datetime | None]) -> PriceTable:
    table = PriceTable(version)
    for own in map(_own_price, prices):
        if _is_pattern(own.model):
            table.patterns.append(own)
        else:
            table.by_name[own.model].append(own)
    return table


def _own_price(row: ModelPrice) -> OwnPrice:
    rates = Rates(
        input=row.input,
        cached_input=row.input if row.cached_input is None else row.cached_input,
        output=row.output,
        reasoning=row.output if row.reasoning is None else row.reasoning,
        per_image=row.per_image,
        per_request=row.per_request,
    )
    price = Price(OWN, row.currency, row.max_output_tokens, rates.calculate)
    return OwnPrice(row.model, row.upstream, row.valid_from, price)


def _is_pattern(text: str) -> bool:
    return any(mark in text for mark in "*?[")


def _matches(text: str, pattern: str) -> bool:
    return text == pattern or fnmatchcase(text, pattern)
