"""Forms for staff: budgets, whose cost is entered in the currency and stored in millionths of it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django import forms
from django.conf import settings

from usage.models import Budget
from usage.money import MILLION, decimal_of


class MoneyField(forms.DecimalField):
    """An amount of the currency; its value is in millionths."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_digits=18, decimal_places=6, min_value=0, **options)

    def prepare_value(self, value: Any) -> Any:
        if not isinstance(value, int):
            return value  # as somebody entered it
        amount = decimal_of(value)
        return f"{amount:.2f}" if amount == round(amount, 2) else f"{amount.normalize():f}"

    def clean(self, value: Any) -> Any:
        amount: Decimal | None = super().clean(value)
        return None if amount is None else int(amount * MILLION)

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(None if initial is None else decimal_of(initial), data)


class BudgetForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    max_cost = MoneyField(required=False)

    class Meta:
        model = Budget
        fields = (
            *("name", "group", "user", "api_key", "end_user", "for_each", "period", "max_tokens", "max_cost"),
            *("is_hard", "warn_at", "is_active"),
        )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "max_cost" in self.fields:  # not for staff who may only view
            self.fields["max_cost"].help_text = f"In {settings.CURRENCY}."
