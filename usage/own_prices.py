"""The prices that staff entered, kept in memory for a few seconds: a request looks its price up without a query."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from django.conf import settings
from django.db import transaction
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from usage.models import ModelPrice, PricesVersion
from usage.price_values import Price, Rates

OWN = "own"
KEPT_SECONDS = 5.0
"""How soon a changed price applies in the other processes; in the one that changed it, it applies at once."""
MAX_REMEMBERED = 4_096
Names = tuple[str, ...]


class Pattern(NamedTuple):
    """Which models, and where, some prices are for."""

    model: str
    upstream: str

    def matches(self, names: Names, upstream: str) -> bool:
        return (not self.upstream or _matches(upstream, self.upstream)) and any(
            _matches(name, self.model) for name in names
        )

    def rank(self) -> tuple[bool, bool, int, bool, int]:
        """Return what sorts the most specific pattern first."""
        upstream, model = self.upstream, self.model
        return (not upstream, _is_pattern(upstream), -len(upstream), _is_pattern(model), -len(model))


@dataclass(frozen=True, slots=True)
class PriceTable:
    """All patterns that have prices in one currency, and what was looked up since.

    Prices are read when a pattern is first used: a list of thousands of models costs milliseconds, its prices would
    cost tenths of a second.
    """

    currency: str
    version: PricesVersion
    by_name: dict[str, list[Pattern]] = field(default_factory=lambda: defaultdict(list))
    patterns: list[Pattern] = field(default_factory=list)
    remembered: dict[tuple[Names, str], tuple[Pattern, ...]] = field(default_factory=dict)
    prices: dict[Pattern, tuple[tuple[dt.datetime, Price], ...]] = field(default_factory=dict)

    def price_of(self, names: Names, upstream: str, at: dt.datetime) -> Price | None:
        """Return the price at `at` by the most specific pattern that has one."""
        for pattern in self._patterns_of(names, upstream):
            for valid_from, price in self._prices_of(pattern):
                if valid_from <= at:
                    return price
        return None

    def _patterns_of(self, names: Names, upstream: str) -> tuple[Pattern, ...]:
        found = self.remembered.get((names, upstream))
        if found is None:
            exact = [pattern for name in names for pattern in self.by_name.get(name, ())]
            matching = [pattern for pattern in [*exact, *self.patterns] if pattern.matches(names, upstream)]
            found = tuple(sorted(matching, key=Pattern.rank))
            if len(self.remembered) >= MAX_REMEMBERED:
                self.remembered.clear()
            self.remembered[names, upstream] = found
        return found

    def _prices_of(self, pattern: Pattern) -> tuple[tuple[dt.datetime, Price], ...]:
        """Return the prices of a pattern, newest first, each with the moment from which it is valid."""
        found = self.prices.get(pattern)
        if found is None:
            rows = ModelPrice.objects.in_currency(self.currency).of(pattern.model, pattern.upstream)
            found = tuple((row.valid_from, _price(row)) for row in rows.order_by("-valid_from"))
            self.prices[pattern] = found
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
        version = ModelPrice.objects.in_currency(currency).version()
        table = known if known is not None and known.version == version else _table_of(currency, version)
        if forgotten == self._forgotten:  # else it may have been read before the change
            self._tables[currency] = table, now
        return table


_tables = PriceTables()


def own_price_of(names: Names, upstream: str, at: dt.datetime) -> Price | None:
    """Return the own price for a model that has `names` at an upstream; None if there is none."""
    return _tables.table(settings.CURRENCY).price_of(names, upstream, at)


def forget_own_prices() -> None:
    _tables.forget()


@receiver([post_save, post_delete], sender=ModelPrice)
def prices_changed(**kwargs: Any) -> None:
    """Read the prices again: in this transaction, and once it is committed."""
    forget_own_prices()
    transaction.on_commit(forget_own_prices)


def _table_of(currency: str, version: PricesVersion) -> PriceTable:
    table = PriceTable(currency, version)
    for model, upstream in ModelPrice.objects.in_currency(currency).patterns():
        pattern = Pattern(model, upstream)
        if _is_pattern(model):
            table.patterns.append(pattern)
        else:
            table.by_name[model].append(pattern)
    return table


def _price(row: ModelPrice) -> Price:
    rates = Rates(
        input=row.input,
        cached_input=row.input if row.cached_input is None else row.cached_input,
        output=row.output,
        reasoning=row.output if row.reasoning is None else row.reasoning,
        per_image=row.per_image,
        per_request=row.per_request,
    )
    return Price(OWN, row.currency, row.max_output_tokens, rates.calculate)


def _is_pattern(text: str) -> bool:
    return any(mark in text for mark in "*?[")


def _matches(text: str, pattern: str) -> bool:
    return text == pattern or fnmatchcase(text, pattern)
