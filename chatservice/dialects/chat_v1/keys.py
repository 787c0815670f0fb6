"""`/me/keys`: list, create, rotate and revoke the caller's own keys."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.db.models import Prefetch
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers

from accounts.addresses import read_network
from accounts.callers import Principal
from accounts.models import ApiKey, ApiKeyUse
from accounts.own_keys import TooManyKeys, issue_own_key, keys_of, revoke_own_key, rotate_own_key
from accounts.rotation import MAX_OVERLAP_HOURS, OVERLAP_HOURS
from accounts.scopes import MEANINGS, Scope
from chatservice.dialects.base import json_response
from chatservice.dialects.chat_v1 import documentation as docs
from chatservice.dialects.chat_v1.envelope import envelope
from chatservice.dialects.chat_v1.fields import Text
from chatservice.dialects.chat_v1.pagination import PageRequest, page_schema
from chatservice.dialects.chat_v1.request_parsing import identifier, validated
from chatservice.dialects.chat_v1.views import ChatView
from chatservice.dialects.problems import BadRequest
from foundation.database import in_database_thread

SHOWN_USES = 20
MAX_NETWORKS = 50
SCOPES = [(str(scope), meaning) for scope, meaning in MEANINGS.items()]


class KeyUseSerializer(serializers.ModelSerializer[ApiKeyUse]):
    """A day (UTC) on which a key was used, and from which network; `elsewhere` sums up many networks."""

    class Meta:
        model = ApiKeyUse
        fields = ("day", "network")


class KeySerializer(serializers.ModelSerializer[ApiKey]):
    """A key without its secret: `prefix` is the beginning of the secret."""

    prefix = serializers.SerializerMethodField()
    scopes = serializers.ListField(
        child=serializers.ChoiceField(SCOPES), allow_null=True, help_text="what the key may do; null: everything"
    )
    networks = serializers.ListField(
        child=serializers.CharField(), allow_null=True, help_text="where it may be used from; null: anywhere"
    )
    replaces = serializers.UUIDField(
        source="replaces_id", allow_null=True, help_text="the key that it was made to replace"
    )
    uses = serializers.SerializerMethodField(help_text=f"the last {SHOWN_USES} days and networks it was used from")

    class Meta:
        model = ApiKey
        fields = (
            *("id", "name", "prefix", "scopes", "networks", "replaces"),
            *("created_at", "expires_at", "last_used_at", "revoked_at", "uses"),
        )
        read_only_fields = fields

    def get_prefix(self, key: ApiKey) -> str:
        return f"cb_{key.kid}"

    @extend_schema_field(KeyUseSerializer(many=True))
    def get_uses(self, key: ApiKey) -> Any:
        shown = key.shown_uses if hasattr(key, "shown_uses") else key.uses.all()[:SHOWN_USES]
        return KeyUseSerializer(shown, many=True).data


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

    scopes = serializers.ListField(
        child=serializers.ChoiceField(SCOPES),
        required=False,
        allow_null=True,
        allow_empty=False,
        default=None,
        help_text="what the key may do, at most what the caller may; all of that by default",
    )
    networks = serializers.ListField(
        child=Text(max_length=50),
        required=False,
        allow_null=True,
        max_length=MAX_NETWORKS,
        default=None,
        help_text="where the key may be used from, such as 192.0.2.0/24 or 2001:db8::/32; anywhere by default",
    )

    def validate_networks(self, networks: list[str] | None) -> list[str] | None:
        try:
            return [read_network(each) for each in networks] if networks else None
        except ValueError as error:
            raise serializers.ValidationError(f"{error}.") from error

    def validate_expires_at(self, expires_at: dt.datetime | None) -> dt.datetime | None:
        if expires_at is not None and expires_at <= timezone.now():
            raise serializers.ValidationError("This must be later than now.")
        return expires_at


class RotationRequest(serializers.Serializer[Any]):
    overlap_hours = serializers.IntegerField(
        required=False,
        default=OVERLAP_HOURS,
        min_value=0,
        max_value=MAX_OVERLAP_HOURS,
        help_text="for how long the old key keeps working",
    )


KEY = docs.enveloped("KeyEnvelope", KeySerializer())
NEW_KEY = docs.enveloped("NewKeyEnvelope", NewKeySerializer())
KEYS = page_schema({"type": "array", "items": {"$ref": "#/components/schemas/Key"}})


class KeysView(ChatView):
    scopes = {"GET": Scope.READ, "POST": Scope.ACCOUNT}

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
        description="Without `scopes` and `networks` it has those of the caller, and never more than these.",
        responses={201: NEW_KEY, **docs.errors(400, 401, 403, 413, 415, 422, 429)},
        examples=[
            docs.example("A name", {"name": "my laptop"}),
            docs.example("Least rights", {"name": "a search", "scopes": ["search"], "networks": ["192.0.2.0/24"]}),
        ],
    )
    async def post(self, request: HttpRequest, principal: Principal) -> HttpResponse:
        shown = await in_database_thread(_issue, principal, validated(request, KeyRequest))
        return json_response(envelope(shown, message="Key created. It is shown only this once."), 201)


class KeyView(ChatView):
    scopes = {"DELETE": Scope.ACCOUNT}

    @extend_schema(
        operation_id="revoke_key",
        summary="Revoke one of the caller's keys immediately",
        responses={200: KEY, **docs.errors(401, 404, 429)},
    )
    async def delete(self, request: HttpRequest, principal: Principal, key_id: str) -> HttpResponse:
        shown = await in_database_thread(_revoke, principal, key_id)
        return json_response(envelope(shown, message="Key revoked"))


class KeyRotationView(ChatView):
    scopes = {"POST": Scope.ACCOUNT}

    @extend_schema(
        operation_id="rotate_key",
        summary="Replace a key; the old one keeps working for some hours",
        description="The successor has the same name, scopes and networks, and lives as long as the old key was meant "
        "to. While both work they count as one key.",
        request=RotationRequest,
        responses={201: NEW_KEY, **docs.errors(400, 401, 403, 404, 409, 413, 415, 422, 429)},
        examples=[docs.example("An hour", {"overlap_hours": 1})],
    )
    async def post(self, request: HttpRequest, principal: Principal, key_id: str) -> HttpResponse:
        given = validated(request, RotationRequest)
        shown = await in_database_thread(_rotate, principal, key_id, given["overlap_hours"])
        return json_response(envelope(shown, message="Key created. It is shown only this once."), 201)


def _page(principal: Principal, asked: PageRequest) -> dict[str, Any]:
    keys = keys_of(principal)
    total = keys.count()
    with_uses = keys.prefetch_related(Prefetch("uses", ApiKeyUse.objects.all()[:SHOWN_USES], to_attr="shown_uses"))
    rows = KeySerializer(with_uses.order_by("-pk")[asked.cut(total)], many=True).data
    return envelope(rows, meta=asked.meta(total))


def _issue(principal: Principal, given: dict[str, Any]) -> dict[str, Any]:
    try:
        key, text = issue_own_key(principal=principal, **given)
    except TooManyKeys as error:
        raise too_many(error) from error
    return {**KeySerializer(key).data, "key": text}


def _rotate(principal: Principal, key_id: str, overlap_hours: int) -> dict[str, Any]:
    try:
        key, text = rotate_own_key(principal=principal, key_id=identifier(key_id), overlap_hours=overlap_hours)
    except ApiKey.DoesNotExist as error:
        raise Http404 from error
    except TooManyKeys as error:
        raise too_many(error) from error
    return {**KeySerializer(key).data, "key": text}


def too_many(error: TooManyKeys) -> BadRequest:
    return BadRequest(str(error), code="limit_reached", status=422)


def _revoke(principal: Principal, key_id: str) -> dict[str, Any]:
    try:
        key = revoke_own_key(principal=principal, key_id=identifier(key_id))
    except ApiKey.DoesNotExist as error:
        raise Http404 from error
    return dict(KeySerializer(key).data)
