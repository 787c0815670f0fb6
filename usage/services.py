"""Changes of prices. A price that has begun is never changed: a new one begins later."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.utils import timezone

from usage.models import ModelPrice
from usage.price_files import Problem
from usage.prices import forget_prices

VALUES = (
    *("currency", "input", "cached_input", "output", "reasoning", "per_image", "per_request"),
    "max_output_tokens",
)


class PricesHaveBegun(Exception):
    """Prices of a file are other than those that are valid from the same moment, which is past."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Change:
    """A price that a model gets, and the one that it had, if any."""

    price: ModelPrice
    before: ModelPrice | None = None

    def __str__(self) -> str:
        if self.before is None:
            values = [(name, getattr(self.price, name)) for name in VALUES]
            said = [f"{name} {_shown(value)}" for name, value in values if value or name in ("input", "output")]
            return f"{self.price}: {', '.join(said)}"
        pairs = [(name, _shown(getattr(self.before, name)), _shown(getattr(self.price, name))) for name in VALUES]
        return f"{self.price}: {', '.join(f'{name} {old} -> {new}' for name, old, new in pairs if old != new)}"


@dataclass(slots=True)
class ImportReport:
    new: list[Change] = field(default_factory=list)
    changed: list[Change] = field(default_factory=list)
    unchanged: int = 0


@transaction.atomic
def import_prices(*, prices: Iterable[tuple[str, ModelPrice]], dry_run: bool = False) -> ImportReport:
    """Store all prices of a file, or none (PricesHaveBegun): rows only for models whose price becomes another one.

    Each comes with its place in the file. A price that has not begun is replaced by one from the same moment.
    """
    report, problems, now = ImportReport(), [], timezone.now()
    known: dict[tuple[str, str], list[ModelPrice]] = {}
    for row in ModelPrice.objects.order_by("valid_from"):
        known.setdefault((row.model, row.upstream), []).append(row)
    for place, price in sorted(prices, key=lambda each: each[1].valid_from):
        rows = known.setdefault((price.model, price.upstream), [])
        before = next((row for row in reversed(rows) if row.valid_from <= price.valid_from), None)
        if before is not None and _values(before) == _values(price):
            report.unchanged += 1
        elif before is not None and before.valid_from == price.valid_from and before.valid_from <= now:
            reason = f"another price began at {before.valid_from:%Y-%m-%d %H:%M:%S}: let this one begin later"
            problems.append(Problem(place, "valid_from", reason))
        else:
            change = Change(price, before)
            (report.new if before is None else report.changed).append(change)
            rows.append(price)
            rows.sort(key=lambda row: row.valid_from)
    if problems:
        raise PricesHaveBegun(problems)
    if not dry_run:
        _store([*report.new, *report.changed])
    return report


def _store(changes: list[Change]) -> None:
    replaced = [
        change.before.pk
        for change in changes
        if change.before is not None and change.before.valid_from == change.price.valid_from
    ]
    ModelPrice.objects.filter(pk__in=replaced).delete()
    ModelPrice.objects.bulk_create([change.price for change in changes], batch_size=500)
    forget_prices()
    transaction.on_commit(forget_prices)


def _values(price: ModelPrice) -> tuple[Any, ...]:
    return tuple(getattr(price, name) for name in VALUES)


def _shown(value: Any) -> str:
    """Return a value without zeros at the end."""
    if value is None:
        return "none"
    return f"{value.normalize():f}" if isinstance(value, Decimal) else str(value)
