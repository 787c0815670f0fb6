"""What models cost, in rows that staff enter or import."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Self

from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Count, Exists, Max, OuterRef, Q
from django.utils import timezone

from foundation.ids import uuid7

# SQLite keeps a decimal as a number of 15 digits: more would be rounded there.
MAX_DIGITS = 15
PricesVersion = tuple[int, dt.datetime | None]
_not_negative = MinValueValidator(0)


class ModelPriceQuerySet(models.QuerySet["ModelPrice"]):
    def in_currency(self, currency: str) -> Self:
        return self.filter(currency=currency)

    def begun(self, moment: dt.datetime) -> Self:
        """Return the prices that are valid from `moment` or earlier, also those that a later one replaced."""
        return self.filter(valid_from__lte=moment)

    def upcoming(self, moment: dt.datetime) -> Self:
        return self.filter(valid_from__gt=moment)

    def current(self, moment: dt.datetime) -> Self:
        """Return the prices that are valid at `moment`: of each model at each upstream the newest one."""
        return self.begun(moment).exclude(_replaced(moment))

    def replaced(self, moment: dt.datetime) -> Self:
        return self.begun(moment).filter(_replaced(moment))

    def of(self, model: str, upstream: str) -> Self:
        """Return the prices of exactly this model (or pattern) and upstream."""
        return self.filter(model=model, upstream=upstream)

    def patterns(self) -> Iterable[tuple[str, str]]:
        """Return each model (or pattern) and upstream that has prices, once."""
        return self.order_by().values_list("model", "upstream").distinct()

    def version(self) -> PricesVersion:
        """Return what is different after every change."""
        found = self.aggregate(rows=Count("pk"), newest=Max("changed_at"))
        return found["rows"], found["newest"]


def _replaced(moment: dt.datetime) -> Exists:
    same = {name: OuterRef(name) for name in ("model", "upstream", "currency")}
    return Exists(ModelPrice.objects.begun(moment).filter(valid_from__gt=OuterRef("valid_from"), **same))


class ModelPrice(models.Model):
    """What a model costs from `valid_from` until the same model and upstream have a later price.

    `model` and `upstream` are patterns (`gpt-4o*`); an empty upstream means any. Prices are per million tokens, but
    `per_image` and `per_request` are for one. Cached input is part of input, reasoning is part of output: without a
    price of their own they cost as much.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    model = models.CharField(max_length=200, help_text="A model, or a pattern such as gpt-4o*.")
    upstream = models.CharField(
        max_length=100, blank=True, help_text="A name in UPSTREAMS, or a pattern. Empty means any."
    )
    currency = models.CharField(max_length=3, validators=[RegexValidator(r"^[A-Z]{3}\Z", "Use a code: USD.")])
    input = models.DecimalField(
        max_digits=MAX_DIGITS, decimal_places=6, validators=[_not_negative], help_text="Per million tokens."
    )
    cached_input = models.DecimalField(
        max_digits=MAX_DIGITS,
        decimal_places=6,
        null=True,
        blank=True,
        validators=[_not_negative],
        help_text="Per million tokens of input that the upstream had in its cache. Empty means as input.",
    )
    output = models.DecimalField(
        max_digits=MAX_DIGITS, decimal_places=6, validators=[_not_negative], help_text="Per million tokens."
    )
    reasoning = models.DecimalField(
        max_digits=MAX_DIGITS,
        decimal_places=6,
        null=True,
        blank=True,
        validators=[_not_negative],
        help_text="Per million tokens of reasoning. Empty means as output.",
    )
    per_image = models.DecimalField(max_digits=MAX_DIGITS, decimal_places=6, default=0, validators=[_not_negative])
    per_request = models.DecimalField(max_digits=MAX_DIGITS, decimal_places=6, default=0, validators=[_not_negative])
    max_output_tokens = models.PositiveIntegerField(
        null=True, blank=True, help_text="The longest answer of the model, if it is known."
    )
    valid_from = models.DateTimeField(default=timezone.now)
    # Tells the processes that keep the prices in memory whether to read them again.
    changed_at = models.DateTimeField(auto_now=True)

    objects = ModelPriceQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["model", "upstream", "valid_from"], name="model_price_once"),
            models.CheckConstraint(
                condition=Q(input__gte=0)
                & Q(output__gte=0)
                & (Q(cached_input=None) | Q(cached_input__gte=0))
                & (Q(reasoning=None) | Q(reasoning__gte=0))
                & Q(per_image__gte=0)
                & Q(per_request__gte=0),
                name="model_price_not_negative",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model} at {self.upstream}" if self.upstream else self.model
