"""`/me/keys` and `/me/usage`: the keys that somebody has, and what they used."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers

from accounts.database import in_database_thread
from accounts.models import ApiKey
from accounts.own_keys import TooManyKeys, issue_own_key, keys_of, revoke_own_key
from accounts.principal import Principal
from chatservice.dialects.base import json_response
from chatservice.dialects.chat_v1 import schema
from chatservice.dialects.chat_v1.calls import identifier, validated
from chatservice.dialects.chat_v1.envelope import envelope
from chatservice.dialects.chat_v1.fields import Text
from chatservice.dialects.chat_v1.pagination import PageRequest, page_schema
from chatservice.dialects.chat_v1.views import ChatView
from chatservice.dialects.problems import BadRequest
from completions.usage import usage_of

DAYS = 30
MOST_DAYS = 366


class KeySerializer(serializers.ModelSerializer):
    """A key, without its secret: `prefix` is how it begins."""

    prefix = serializers.SerializerMethodField()

    class Meta:
        model = ApiKey
        fields = ("id", "name", "prefix", "created_at", "expires_at", "last_used_at", "revoked_at")
        read_only_fields = fields

    def get_prefix(self, key: ApiKey) -> str:
        return f"cb_{key.kid}"


class NewKeySerializer(KeySerializer):
    key = serializers.CharField(help_text="the key itself: shown here, once")

    class Meta(KeySerializer.Meta):
        fields = (*KeySerializer.Meta.fields, "key")  # type: ignore[assignment]


class KeyRequest(serializers.Serializer):
    name = Text(required=False, allow_blank=True, default="", max_length=100)
    expires_at = serializers.DateTimeField(
        required=False, allow_null=True, default=None, help_text="later than now; a key that a key makes ends with it"
    )

    def validate_expires_at(self, expires_at: dt.datetime | None) -> dt.datetime | None:
        if expires_at is not None and expires_at <= timezone.now():
            raise serializers.ValidationError("This must be later than now.")
        return expires_at


class UsageSerializer(serializers.Serializer):
    day = serializers.DateField()
    model = serializers.CharField()
    runs = serializers.IntegerField()
    failed = serializers.IntegerField()
    prompt_tokens = serializers.IntegerField()
    completion_tokens = serializers.IntegerField()


KEY = schema.enveloped("KeyEnvelope", KeySerializer())
NEW_KEY = schema.enveloped("NewKeyEnvelope", NewKeySerializer())
USAGE = schema.enveloped("UsageEnvelope", UsageSerializer(many=True))
KEYS = page_schema({"type": "array", "items": {"$ref": "#/components/schemas/Key"}})


class KeysView(ChatView):
    @extend_schema(
        operation_id="list_keys",
        summary="My keys, without their secrets; the newest first",
        parameters=schema.PAGE,
        responses={200: KEYS, **schema.errors(400, 401, 429)},
    )
    async def get(self, request: HttpRequest, principal: Principal) -> HttpResponse:
        asked = PageRequest.read(request.GET, default_limit=20)
        return json_response(await in_database_thread(_page, principal, asked))

    @extend_schema(
        operation_id="create_key",
        summary="Make a key; its secret is in this answer, and nowhere else",
        request=KeyRequest,
        responses={201: NEW_KEY, **schema.errors(400, 401, 413, 415, 422, 429)},
        examples=[schema.example("A name", {"name": "my laptop"})],
    )
    async def post(self, request: HttpRequest, principal: Principal) -> HttpResponse:
        shown = await in_database_thread(_issue, principal, validated(request, KeyRequest))
        response = json_response(envelope(shown, message="Key created: this is the only time it is shown"), 201)
        response.headers["Cache-Control"] = "no-store"
        return response


class KeyView(ChatView):
    @extend_schema(
        operation_id="revoke_key",
        summary="Make one of my keys useless, now",
        responses={200: KEY, **schema.errors(401, 404, 429)},
    )
    async def delete(self, request: HttpRequest, principal: Principal, key_id: str) -> HttpResponse:
        shown = await in_database_thread(_revoke, principal, key_id)
        return json_response(envelope(shown, message="Key revoked"))


class UsageView(ChatView):
    @extend_schema(
        operation_id="get_usage",
        summary="What I used, by day and model; the newest first",
        description="Days are UTC. Tokens are what the model's server said; a run without figures counts as a run.",
        parameters=[OpenApiParameter("days", int, default=DAYS, description=f"1 to {MOST_DAYS}")],
        responses={200: USAGE, **schema.errors(400, 401, 429)},
    )
    async def get(self, request: HttpRequest, principal: Principal) -> HttpResponse:
        since = timezone.now() - dt.timedelta(days=_days(request))
        used = await in_database_thread(lambda: usage_of(principal, since=since))
        return json_response(envelope([asdict(each) for each in used]))


def _page(principal: Principal, asked: PageRequest) -> dict[str, Any]:
    keys = keys_of(principal)
    total = keys.count()
    rows = KeySerializer(keys.order_by("-pk")[asked.cut(total)], many=True).data
    return envelope(rows, meta=asked.meta(total))


def _issue(principal: Principal, given: dict[str, Any]) -> dict[str, Any]:
    try:
        key, text = issue_own_key(principal=principal, name=given["name"], expires_at=given["expires_at"])
    except TooManyKeys as error:
        raise BadRequest(str(error), code="limit_reached", status=422) from error
    return {**KeySerializer(key).data, "key": text}


def _revoke(principal: Principal, key_id: str) -> dict[str, Any]:
    try:
        key = revoke_own_key(principal=principal, key_id=identifier(key_id))
    except ApiKey.DoesNotExist as error:
        raise Http404 from error
    return dict(KeySerializer(key).data)


def _days(request: HttpRequest) -> int:
    text = request.GET.get("days") or str(DAYS)
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= MOST_DAYS):
        wanted = f"A whole number from 1 to {MOST_DAYS}."
        raise BadRequest(f"days: {wanted}", code="validation_error", param="days", details={"days": [wanted]})
    return int(text)
