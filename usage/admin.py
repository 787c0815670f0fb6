"""Prices of models for staff. One that has begun is not changed, since costs were calculated with it: add another."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone

from foundation.admin_base import ListAdmin, TextFilter, minute
from usage import budget_admin  # noqa: F401  it registers itself
from usage.models import ModelPrice


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

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(upstream=self.text()) if self.text() else queryset


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
