"""`/me/keys`: list, create and revoke the caller's own keys."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers

from accounts.callers import Principal
from accounts.models import ApiKey
from accounts.own_keys import TooManyKeys, issue_own_key, keys_of, revoke_own_key
from chatservice.dialects.base import json_response
from chatservice.dialects.chat_v1 import documentation as docs
from chatservice.dialects.chat_v1.envelope import envelope
from chatservice.dialects.chat_v1.fields import Text
from chatservice.dialects.chat_v1.pagination import PageRequest, page_schema
from chatservice.dialects.chat_v1.request_parsing import identifier, validated
from chatservice.dialects.chat_v1.views import ChatView
from chatservice.dialects.problems import BadRequest
from foundation.database import in_database_thread


class KeySerializer(serializers.ModelSerializer[ApiKey]):
    """A key without its secret: `prefix` is the beginning of the secret."""

    prefix = serializers.SerializerMethodField()

    class Meta:
        model = ApiKey
        fields = ("id", "name", "prefix", "created_at", "expires_at", "last_used_at", "revoked_at")
        read_only_fields = fields

    def get_prefix(self, key: ApiKey) -> str:
        return f"cb_{key.kid}"


class NewKeySerializer(KeySerializer):
    key = serializers.CharField(help_text="the key itself, shown only once")

    class Meta(KeySerializer.Meta):
        fields = (*KeySerializer.Meta.fields, "key")  # type: ignore[assignment]


class KeyRequest(serializers.Serializer[Any]):
    name = Text(required=False, allow_blank=True, default="", max_length=100)
    expires_at = serializers.DateTimeField(
        required=False,
        allow_null=True,
        default=None,
        help_text="must be in the future; a key created with another key expires with it at the latest",
    )

    def validate_expires_at(self, expires_at: dt.datetime | None) -> dt.datetime | None:
        if expires_at is not None and expires_at <= timezone.now():
            raise serializers.ValidationError("This must be later than now.")
        return expires_at


KEY = docs.enveloped("KeyEnvelope", KeySerializer())
NEW_KEY = docs.enveloped("NewKeyEnvelope", NewKeySerializer())
KEYS = page_schema({"type": "array", "items": {"$ref": "#/components/schemas/Key"}})


class KeysView(ChatView):
    @extend_schema(
        operation_id="list_keys",
        summary="The caller's keys without their secrets, newest first",
        parameters=docs.PAGE,
        responses={200: KEYS, **docs.errors(400, 401, 429)},
    )
    async def get(self, request: HttpRequest, principal: Principal) -> HttpResponse:
        asked = PageRequest.read(request.GET, default_limit=20)
        return json_response(await in_database_thread(_page, principal, asked))

    @extend_schema(
        operation_id="create_key",
        summary="Create a key; its secret is only in this response",
        request=KeyRequest,
        responses={201: NEW_KEY, **docs.errors(400, 401, 413, 415, 422, 429)},
        examples=[docs.example("A name", {"name": "my laptop"})],
    )
    async def post(self, request: HttpRequest, principal: Principal) -> HttpResponse:
        shown = await in_database_thread(_issue, principal, validated(request, KeyRequest))
        return json_response(envelope(shown, message="Key created. It is shown only this once."), 201)


class KeyView(ChatView):
    @extend_schema(
        operation_id="revoke_key",
        summary="Revoke one of the caller's keys immediately",
        responses={200: KEY, **docs.errors(401, 404, 429)},
    )
    async def delete(self, request: HttpRequest, principal: Principal, key_id: str) -> HttpResponse:
        shown = await in_database_thread(_revoke, principal, key_id)
        return json_response(envelope(shown, message="Key revoked"))


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
