"""`/usage`: what was used in the groups that the caller owns, and by everybody for staff who may see that."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers

from accounts.callers import Principal
from accounts.principal import user_of
from accounts.scopes import Scope
from chatservice.dialects.base import json_response
from chatservice.dialects.chat_v1 import documentation as docs
from chatservice.dialects.chat_v1.envelope import envelope
from chatservice.dialects.chat_v1.usage import AmountsSerializer, shown_amounts
from chatservice.dialects.chat_v1.views import ChatView
from chatservice.dialects.problems import BadRequest
from dashboard.usage_form import BY, DEFAULT_DAYS, MAX_MONTHS, UsageForm
from foundation.database import in_database_thread
from usage.breakdown import lines_of, totals, visible_usage


class LineSerializer(AmountsSerializer):
    name = serializers.CharField(help_text="The user, group, key, model, upstream, day or month.")


LINES = docs.enveloped("UsageOfGroupsEnvelope", LineSerializer(many=True))


class GroupsUsageView(ChatView):
    scopes = {"GET": Scope.USAGE}

    @extend_schema(
        operation_id="get_usage_of_groups",
        summary="The usage of the groups that you own",
        description="Never their content. Staff with the permission `usage.view_dailyusage` get everybody's usage; "
        "whoever owns no group gets an empty list.",
        parameters=[
            OpenApiParameter("by", str, enum=[value for value, _ in BY], default="user"),
            OpenApiParameter("since", str, description=f"A day, at most {MAX_MONTHS} months back; {DEFAULT_DAYS} days"),
            OpenApiParameter("until", str, description="A day; today"),
        ],
        responses={200: LINES, **docs.errors(400, 401, 429)},
    )
    async def get(self, request: HttpRequest, principal: Principal) -> HttpResponse:
        given = {name: request.GET.get(name, "") for name in ("by", "since", "until")}
        return json_response(envelope(await in_database_thread(_lines, principal, given)))


def _lines(principal: Principal, given: dict[str, str]) -> list[dict[str, Any]]:
    form = UsageForm(given)
    if not form.is_valid():
        details = {name: [str(each) for each in errors] for name, errors in form.errors.items()}
        message = next(f"{name}: {each}" for name, errors in details.items() for each in errors)
        raise BadRequest(message.removeprefix("__all__: "), code="validation_error", details=details)
    visible = visible_usage(user_of(principal))
    if visible is None:
        return []
    found = totals(form.selection(visible), form.by_what)
    return [{"name": line.label, **shown_amounts(line.amounts)} for line in lines_of(found, form.by_what)]
