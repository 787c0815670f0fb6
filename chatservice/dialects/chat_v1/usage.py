"""`/me/usage`: the caller's answers and tokens, by day and model."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers

from accounts.callers import Principal
from accounts.scopes import Scope
from chatservice.dialects.base import json_response
from chatservice.dialects.chat_v1 import documentation as docs
from chatservice.dialects.chat_v1.envelope import envelope
from chatservice.dialects.chat_v1.views import ChatView
from chatservice.dialects.problems import BadRequest
from foundation.database import in_database_thread
from usage.money import plain
from usage.periods import day_of
from usage.reports import MAX_DAYS, usage_of

DAYS = 30


class AmountsSerializer(serializers.Serializer[Any]):
    runs = serializers.IntegerField()
    failed = serializers.IntegerField()
    estimated = serializers.IntegerField(help_text="Runs whose tokens the model's server did not report.")
    prompt_tokens = serializers.IntegerField()
    cached_tokens = serializers.IntegerField(help_text="Those of the prompt that the server had in its cache.")
    completion_tokens = serializers.IntegerField()
    reasoning_tokens = serializers.IntegerField(help_text="Those of the completion that were reasoning.")
    cost = serializers.CharField(help_text="A decimal number in `currency`, as 0.000123.")
    currency = serializers.CharField()
    unpriced = serializers.IntegerField(help_text="Runs of a model without a known price: they are not in `cost`.")


class UsageSerializer(AmountsSerializer):
    day = serializers.DateField()
    model = serializers.CharField()


USAGE = docs.enveloped("UsageEnvelope", UsageSerializer(many=True))


class UsageView(ChatView):
    scopes = {"GET": Scope.READ}

    @extend_schema(
        operation_id="get_usage",
        summary="The caller's usage by day and model, newest first",
        description="Days begin in the service's time zone (USAGE_TIME_ZONE); a run counts on the day of its end. "
        "Tokens are as reported by the model's server, or else estimated.",
        parameters=[OpenApiParameter("days", int, default=DAYS, description=f"1 to {MAX_DAYS}")],
        responses={200: USAGE, **docs.errors(400, 401, 429)},
    )
    async def get(self, request: HttpRequest, principal: Principal) -> HttpResponse:
        since = day_of(timezone.now()) - dt.timedelta(days=_days(request))
        used = await in_database_thread(lambda: usage_of(principal, since=since))
        return json_response(
            envelope([{"day": each.day, "model": each.model, **shown_amounts(asdict(each))} for each in used])
        )


def shown_amounts(amounts: Mapping[str, Any]) -> dict[str, Any]:
    """Return amounts of the ledger by the names that this API has for them."""
    return {
        "runs": amounts["requests"],
        "failed": amounts["failed"],
        "estimated": amounts["estimated"],
        "prompt_tokens": amounts["input_tokens"],
        "cached_tokens": amounts["cached_tokens"],
        "completion_tokens": amounts["output_tokens"],
        "reasoning_tokens": amounts["reasoning_tokens"],
        "cost": plain(amounts["cost"]),
        "currency": settings.CURRENCY,
        "unpriced": amounts["unpriced"],
    }


def _days(request: HttpRequest) -> int:
    text = request.GET.get("days") or str(DAYS)
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= MAX_DAYS):
        wanted = f"A whole number from 1 to {MAX_DAYS}."
        raise BadRequest(f"days: {wanted}", code="validation_error", param="days", details={"days": [wanted]})
    return int(text)
