"""`/me/usage`: the caller's answers and tokens, by day and model."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers

from accounts.callers import Principal
from chatservice.dialects.base import json_response
from chatservice.dialects.chat_v1 import documentation as docs
from chatservice.dialects.chat_v1.envelope import envelope
from chatservice.dialects.chat_v1.views import ChatView
from chatservice.dialects.problems import BadRequest
from completions.usage import usage_of
from foundation.database import in_database_thread

DAYS = 30
MAX_DAYS = 366


class UsageSerializer(serializers.Serializer[Any]):
    day = serializers.DateField()
    model = serializers.CharField()
    runs = serializers.IntegerField()
    failed = serializers.IntegerField()
    prompt_tokens = serializers.IntegerField()
    completion_tokens = serializers.IntegerField()


USAGE = docs.enveloped("UsageEnvelope", UsageSerializer(many=True))


class UsageView(ChatView):
    @extend_schema(
        operation_id="get_usage",
        summary="The caller's usage by day and model, newest first",
        description="Days are UTC. Tokens are as reported by the model's server; a run without token counts is "
        "still a run.",
        parameters=[OpenApiParameter("days", int, default=DAYS, description=f"1 to {MAX_DAYS}")],
        responses={200: USAGE, **docs.errors(400, 401, 429)},
    )
    async def get(self, request: HttpRequest, principal: Principal) -> HttpResponse:
        since = timezone.now() - dt.timedelta(days=_days(request))
        used = await in_database_thread(lambda: usage_of(principal, since=since))
        return json_response(envelope([asdict(each) for each in used]))


def _days(request: HttpRequest) -> int:
    text = request.GET.get("days") or str(DAYS)
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= MAX_DAYS):
        wanted = f"A whole number from 1 to {MAX_DAYS}."
        raise BadRequest(f"days: {wanted}", code="validation_error", param="days", details={"days": [wanted]})
    return int(text)
