"""`/me/budgets`: what is left of the budgets that apply to the caller."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers

from accounts.callers import Principal
from accounts.scopes import Scope
from chatservice.dialects.base import json_response
from chatservice.dialects.chat_v1 import documentation as docs
from chatservice.dialects.chat_v1.envelope import envelope
from chatservice.dialects.chat_v1.views import ChatView
from foundation.database import in_database_thread
from usage.money import plain
from usage.own_budgets import OwnBudget, own_budgets
from usage.periods import Period


class BudgetSerializer(serializers.Serializer[Any]):
    """A budget in its current period; it limits tokens, cost or both, and null is what it does not limit."""

    name = serializers.CharField()
    period = serializers.ChoiceField(Period.choices)
    is_hard = serializers.BooleanField(help_text="Whether it refuses what could pass it; otherwise it only warns.")
    is_shared = serializers.BooleanField(help_text="Whether others use it up, too.")
    max_tokens = serializers.IntegerField(allow_null=True)
    used_tokens = serializers.IntegerField(
        allow_null=True, help_text="Those that running requests have reserved included."
    )
    left_tokens = serializers.IntegerField(allow_null=True)
    max_cost = serializers.CharField(allow_null=True, help_text="A decimal number in `currency`, as 12.5.")
    used_cost = serializers.CharField(allow_null=True)
    left_cost = serializers.CharField(allow_null=True)
    currency = serializers.CharField()
    renews_at = serializers.DateTimeField(allow_null=True, help_text="When the period ends; null for `total`.")


class BudgetsView(ChatView):
    scopes = {"GET": Scope.READ}

    @extend_schema(
        operation_id="list_budgets",
        summary="What is left of the budgets that apply to the caller, by name",
        description="Those of the caller, of its groups and of everybody; with a key also those of the key. One that "
        "others use up, too, is listed if it refuses.",
        responses={200: docs.enveloped("BudgetsEnvelope", BudgetSerializer(many=True)), **docs.errors(401, 429)},
    )
    async def get(self, request: HttpRequest, principal: Principal) -> HttpResponse:
        return json_response(envelope(list(map(_shown, await in_database_thread(own_budgets, principal)))))


def _shown(budget: OwnBudget) -> dict[str, Any]:
    tokens, cost = (budget.max_tokens, budget.left_tokens), (budget.max_cost, budget.left_cost)
    return {
        "name": budget.name,
        "period": budget.period,
        "is_hard": budget.is_hard,
        "is_shared": budget.is_shared,
        "max_tokens": budget.max_tokens,
        "used_tokens": _used(*tokens),
        "left_tokens": budget.left_tokens,
        "max_cost": _plain(budget.max_cost),
        "used_cost": _plain(_used(*cost)),
        "left_cost": _plain(budget.left_cost),
        "currency": settings.CURRENCY,
        "renews_at": budget.renews_at,
    }


def _used(most: int | None, left: int | None) -> int | None:
    return None if most is None or left is None else most - left


def _plain(amount: int | None) -> str | None:
    return None if amount is None else plain(amount)
