"""The caller's own account: reading it, what new chats begin with, exporting all its data, and deleting it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers

from accounts.callers import Principal
from accounts.credential_changes import confirm_deletion
from accounts.credential_watch import credential_watch
from accounts.models import FailedSignIn, User
from accounts.personal_data import export_account
from accounts.principal import user_of
from accounts.scopes import Scope
from accounts.services import ERASE_SECONDS, delete_user, set_default_generation
from chatservice.dialects.base import encode_json, json_response
from chatservice.dialects.chat_v1 import documentation as docs
from chatservice.dialects.chat_v1.envelope import envelope
from chatservice.dialects.chat_v1.fields import Text
from chatservice.dialects.chat_v1.request_parsing import validated
from chatservice.dialects.chat_v1.views import ChatView
from chatservice.dialects.generation_settings import GenerationField
from completions.preferred_model import choose_model, preferred_model
from completions.stream_limits import acquire_stream
from conversations import quota
from foundation.database import in_database_thread, stream_from_database

LINE = '{"model": "conversations.message", "row": {"id": "…", "role": "user", "content": "Hello"}}\n'


class FailedSignInSerializer(serializers.ModelSerializer[FailedSignIn]):
    """Failed sign-ins with a wrong password from one network; `elsewhere` sums up many networks."""

    class Meta:
        model = FailedSignIn
        fields = ("network", "attempts", "first_at", "last_at")


class AccountSerializer(serializers.ModelSerializer[User]):
    """An account as its owner sees it. `failed_sign_ins` are those since the last sign-in but one."""

    created_at = serializers.DateTimeField(source="date_joined")
    has_password = serializers.BooleanField(source="has_usable_password")
    preferred_model = serializers.CharField(
        allow_null=True,
        help_text="What new chats begin with on the page; null for the service's default, which is also used if the "
        "chosen model is gone or no longer allowed.",
    )
    default_generation = GenerationField(
        help_text="What new conversations keep as their `generation`, where the request that begins one has none; not "
        "those of OpenAI's APIs.",
    )
    failed_sign_ins = FailedSignInSerializer(many=True)

    class Meta:
        model = User
        fields = (
            *("id", "username", "is_staff", "has_password", "created_at"),
            *("preferred_model", "default_generation", "failed_sign_ins"),
        )


class Preferences(serializers.Serializer[Any]):
    preferred_model = Text(
        required=False, max_length=200, allow_null=True, help_text="One of the models that the caller may use."
    )
    default_generation = GenerationField(help_text="What is sent replaces all of it, null removes it.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs:
            raise serializers.ValidationError("Send 'preferred_model', 'default_generation' or both.")
        return attrs


ACCOUNT = docs.enveloped("AccountEnvelope", AccountSerializer())


class StorageSerializer(serializers.Serializer[Any]):
    """What an account stores, and its limits; null means no limit."""

    messages = serializers.IntegerField()
    messages_limit = serializers.IntegerField(allow_null=True)
    bytes = serializers.IntegerField()
    bytes_limit = serializers.IntegerField(allow_null=True)


STORAGE = docs.enveloped("StorageEnvelope", StorageSerializer())


class Confirmation(serializers.Serializer[Any]):
    """Confirms the deletion of the account by its username or its password."""

    username = Text(required=False, max_length=150)
    password = Text(required=False, max_length=4096)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs:
            raise serializers.ValidationError("Confirm with 'username' or 'password': deletion cannot be undone.")
        return attrs


class MeView(ChatView):
    scopes = {"GET": Scope.READ, "PATCH": Scope.ACCOUNT, "DELETE": Scope.ACCOUNT}

    @extend_schema(
        operation_id="get_me",
        summary="The caller's account",
        responses={200: ACCOUNT, **docs.errors(401, 429)},
    )
    async def get(self, request: HttpRequest, principal: Principal) -> HttpResponse:
        return json_response(envelope(await _account(principal)))

    @extend_schema(
        operation_id="update_me",
        summary="Choose the model that new chats begin with on the page, and what new conversations keep",
        request=Preferences,
        responses={200: ACCOUNT, **docs.errors(400, 401, 403, 413, 415, 429)},
        examples=[docs.example("A choice", {"preferred_model": "echo"})],
    )
    async def patch(self, request: HttpRequest, principal: Principal) -> HttpResponse:
        given = validated(request, Preferences)
        if "preferred_model" in given:
            await choose_model(principal, given["preferred_model"])
        if "default_generation" in given:
            chosen = given["default_generation"]
            user_id = principal.user_id
            await in_database_thread(lambda: set_default_generation(user_id=user_id, generation=chosen))
        return json_response(envelope(await _account(principal)))

    @extend_schema(
        operation_id="delete_me",
        summary="Delete the caller's account and everything in it immediately",
        description=(
            "Running answers are stopped first. Everything stored is deleted with the account: conversations, "
            "keys, sessions, idempotency keys, the search index. This cannot be undone. Staff confirm with the "
            "password."
        ),
        request=Confirmation,
        responses={200: docs.DELETED, **docs.errors(400, 401, 403, 413, 415, 429)},
        examples=[docs.example("A confirmation", {"username": "alice"})],
    )
    async def delete(self, request: HttpRequest, principal: Principal) -> HttpResponse:
        given = validated(request, Confirmation)
        user = await in_database_thread(_confirmed, principal, given)
        await in_database_thread(lambda: delete_user(user=user, seconds=ERASE_SECONDS), seconds=None)
        return json_response(envelope(None, message="Account deleted successfully"))


class StorageView(ChatView):
    scopes = {"GET": Scope.READ}

    @extend_schema(
        operation_id="get_storage",
        summary="How much the caller stores, and the limits",
        description="Bytes are counted in UTF-8: messages with their parts, titles and metadata of conversations. "
        "Accounts that share their limits are counted together.",
        responses={200: STORAGE, **docs.errors(401, 429)},
    )
    async def get(self, request: HttpRequest, principal: Principal) -> HttpResponse:
        held = await in_database_thread(quota.held, principal.user_id)
        return json_response(
            envelope(
                {
                    **held._asdict(),
                    "messages_limit": settings.LIMIT_MESSAGES_PER_USER or None,
                    "bytes_limit": settings.LIMIT_STORED_BYTES_PER_USER or None,
                }
            )
        )


class ExportView(ChatView):
    scopes = {"GET": Scope.READ}

    @extend_schema(
        operation_id="export_me",
        summary="Everything stored about the caller, one JSON object per line",
        description='Passwords and keys are left out. A last line `{"error": ...}` means that the export was cut off '
        "because the key was revoked or the account deactivated. `manage.py export_history` writes conversations in "
        "other formats.",
        responses={
            (200, "application/x-ndjson"): OpenApiResponse(str, description=f"Lines such as\n```\n{LINE}```"),
            **docs.errors(401, 429),
        },
    )
    async def get(self, request: HttpRequest, principal: Principal) -> HttpResponseBase:
        user = await in_database_thread(user_of, principal)
        release = acquire_stream(principal)
        response = StreamingHttpResponse(
            until_refused(principal, stream_from_database(export_account(user))),
            content_type="application/x-ndjson",
            headers={"Content-Disposition": 'attachment; filename="chat-export.ndjson"'},
        )
        response._resource_closers.append(release)  # type: ignore[attr-defined]  # Django's, not public
        return response


async def _account(principal: Principal) -> dict[str, Any]:
    account = await in_database_thread(lambda: dict(AccountSerializer(user_of(principal)).data))
    return {**account, "preferred_model": await preferred_model(principal)}


async def until_refused(principal: Principal, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield `chunks` while the caller is still admitted; if that ends, yield a last line that says why."""
    with credential_watch.watching(principal, lambda: None) as watched:
        async for chunk in chunks:
            if watched is not None and watched.refusal is not None:
                refusal = watched.refusal
                yield encode_json({"error": {"code": refusal.code, "message": refusal.message}}) + b"\n"
                return
            yield chunk


def _confirmed(principal: Principal, given: dict[str, Any]) -> User:
    """Return the account that the caller wants to delete; raises NotConfirmed and TooManyAttempts."""
    user = user_of(principal)
    confirm_deletion(principal, user, username=given.get("username"), password=given.get("password"))
    return user
