"""Prices of models for staff. One that has begun is not changed, since costs were calculated with it: add another."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import admin
from django.db.models import CharField, Sum, Value
from django.db.models.functions import Cast, Concat
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from accounts.admin_related import RELATED, Related
from accounts.models import User
from foundation.admin_base import ListAdmin, TextFilter, minute
from usage import budget_admin  # noqa: F401  it registers itself
from usage.models import DailyUsage, ModelPrice
from usage.money import plain
from usage.periods import day_of

DAYS = 30


AMOUNTS = ("requests", "failed", "input_tokens", "output_tokens", "cost")


def sums_of(user: User) -> Any:
    """Return a row with what an account used in the last days: its amounts with blanks between them."""
    since = day_of(timezone.now()) - dt.timedelta(days=DAYS - 1)
    words = [part for name in AMOUNTS for part in (Cast(Sum(name), CharField()), Value(" "))]
    return DailyUsage.objects.filter(user=user, day__gte=since).values("user_id").annotate(words=Concat(*words))


def told(words: str) -> str:
    used = dict(zip(AMOUNTS, map(int, words.split() or ["0"] * len(AMOUNTS)), strict=True))
    tokens = used["input_tokens"] + used["output_tokens"]
    return (
        f"{used['requests']:,} requests in {DAYS} days, {used['failed']:,} of them failed; {tokens:,} tokens; "
        f"{plain(used['cost'])} {settings.CURRENCY}"
    )


RELATED.append(
    Related(
        title="Usage",
        permission="usage.view_dailyusage",
        address=lambda user: f"{reverse('admin:usage')}?{urlencode({'user': user.username, 'by': 'day'})}",
        sums=sums_of,
        told=told,
    )
)


class PriceStateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("current", "Valid now"), ("upcoming", "Begins later"), ("replaced", "Replaced")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        now = timezone.now()
        match self.value():
            case "current":
                return queryset.current(now)
            case "upcoming":
                return queryset.upcoming(now)
            case "replaced":
                return queryset.replaced(now)
        return queryset


class UpstreamFilter(TextFilter):
    title = "upstream"
    parameter_name = "upstream"
    placeholder = "name or pattern"
    column = "upstream"


@admin.register(ModelPrice)
class ModelPriceAdmin(ListAdmin):
    list_display = (
        *("model", "upstream", "currency", "shown_input", "shown_cached_input", "shown_output", "shown_reasoning"),
        *("shown_per_image", "shown_per_request", "max_output_tokens", "begins"),
    )
    list_filter = (PriceStateFilter, "currency", UpstreamFilter)
    search_fields = ("model__icontains",)
    search_help_text = "Part of a model's name"
    fields = (
        *("model", "upstream", "currency", "input", "cached_input", "output", "reasoning"),
        *("per_image", "per_request", "max_output_tokens", "valid_from"),
    )
    ordering = ("model", "upstream", "-valid_from")
    sortable_by = ()

    @admin.display(description="input")
    def shown_input(self, price: ModelPrice) -> str:
        return shown(price.input)

    @admin.display(description="cached input")
    def shown_cached_input(self, price: ModelPrice) -> str:
        return shown(price.cached_input)

    @admin.display(description="output")
    def shown_output(self, price: ModelPrice) -> str:
        return shown(price.output)

    @admin.display(description="reasoning")
    def shown_reasoning(self, price: ModelPrice) -> str:
        return shown(price.reasoning)

    @admin.display(description="per image")
    def shown_per_image(self, price: ModelPrice) -> str:
        return shown(price.per_image or None)

    @admin.display(description="per request")
    def shown_per_request(self, price: ModelPrice) -> str:
        return shown(price.per_request or None)

    @admin.display(description="valid from")
    def begins(self, price: ModelPrice) -> str:
        return minute(price.valid_from)

    def has_change_permission(self, request: HttpRequest, obj: ModelPrice | None = None) -> bool:
        """Let staff change only a price that has not begun."""
        return super().has_change_permission(request, obj) and (obj is None or obj.valid_from > timezone.now())

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"currency": settings.CURRENCY, **super().get_changeform_initial_data(request)}


def shown(amount: Decimal | None) -> str:
    """Return an amount without zeros at its end; empty for None, which shows as a dash."""
    return "" if amount is None else f"{amount.normalize():f}"
