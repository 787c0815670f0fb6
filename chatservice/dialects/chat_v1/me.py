"""The caller's own account: who it is, all that is stored of it, and its end."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import Throttled

from accounts import throttling
from accounts.database import in_database_thread, stream_from_database
from accounts.models import User
from accounts.personal_data import export_account
from accounts.principal import Principal, user_of
from accounts.services import delete_user
from chatservice.dialects.base import json_response
from chatservice.dialects.chat_v1 import schema
from chatservice.dialects.chat_v1.calls import validated
from chatservice.dialects.chat_v1.envelope import envelope
from chatservice.dialects.chat_v1.fields import Text
from chatservice.dialects.chat_v1.views import ChatView
from chatservice.dialects.problems import BadRequest
from completions.slots import take_stream_slot

LINE = '{"model": "conversations.message", "row": {"id": "…", "role": "user", "content": "Hello"}}\n'


class AccountSerializer(serializers.ModelSerializer):
    """An account, as its owner sees it."""

    created_at = serializers.DateTimeField(source="date_joined")
    has_password = serializers.BooleanField(source="has_usable_password")

    class Meta:
        model = User
        fields = ("id", "username", "is_staff", "has_password", "created_at")


class Confirmation(serializers.Serializer):
    """What shows that the account is really to be deleted: its username, or its password."""

    username = Text(required=False, max_length=150)
    password = Text(required=False, max_length=4096)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs:
            raise serializers.ValidationError("Confirm with 'username' or 'password': there is no way back.")
        return attrs


class MeView(ChatView):
    @extend_schema(
        operation_id="get_me",
        summary="Who I am",
        responses={200: schema.enveloped("AccountEnvelope", AccountSerializer()), **schema.errors(401, 429)},
    )
    async def get(self, request: HttpRequest, principal: Principal) -> HttpResponse:
        return json_response(envelope(AccountSerializer(await in_database_thread(user_of, principal)).data))

    @extend_schema(
        operation_id="delete_me",
        summary="Delete my account and everything in it, now",
        description=(
            "Running answers are stopped first. What is stored goes with the account: conversations, keys, sessions, "
            "idempotency keys, the search index. There is no way back. Staff confirm with the password."
        ),
        request=Confirmation,
        responses={200: schema.DELETED, **schema.errors(400, 401, 403, 413, 415, 429)},
        examples=[schema.example("A confirmation", {"username": "alice"})],
    )
    async def delete(self, request: HttpRequest, principal: Principal) -> HttpResponse:
        given = validated(request, Confirmation)
        user = await in_database_thread(_confirmed, principal, given)
        await in_database_thread(lambda: delete_user(user=user))
        return json_response(envelope(None, message="Account deleted successfully"))


class ExportView(ChatView):
    @extend_schema(
        operation_id="export_me",
        summary="Everything that is stored of me, a line of JSON a row",
        description="Passwords and keys excepted. `manage.py export_history` gives conversations in other shapes.",
        responses={
            (200, "application/x-ndjson"): OpenApiResponse(str, description=f"Lines such as\n```\n{LINE}```"),
            **schema.errors(401, 429),
        },
    )
    async def get(self, request: HttpRequest, principal: Principal) -> HttpResponseBase:
        user = await in_database_thread(user_of, principal)
        release = take_stream_slot(principal)
        response = StreamingHttpResponse(
            stream_from_database(export_account(user)),
            content_type="application/x-ndjson",
            headers={"Content-Disposition": 'attachment; filename="chat-export.ndjson"', "Cache-Control": "no-store"},
        )
        response._resource_closers.append(release)
        return response


def _confirmed(principal: Principal, given: dict[str, Any]) -> User:
    """Return the account that the caller means to delete; raises BadRequest (403) and Throttled."""
    user = user_of(principal)
    named = "username" not in given or given["username"] == user.username
    known = "password" not in given or user.check_password(given["password"])
    if named and known and ("password" in given or not user.is_staff):
        return user
    if wait := throttling.hit(f"confirm:{user.pk.hex}", limit=settings.LIMIT_AUTH_FAILURES_PER_MINUTE):
        raise Throttled(wait=wait)
    message = "That is not this account's username or password."
    if named and known:
        message = "Staff accounts are deleted with their password, or in the admin site."
    raise BadRequest(message, code="not_confirmed", status=403)
