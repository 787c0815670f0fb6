"""`/imports`: history from elsewhere, out of a file that the caller has uploaded."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers

from accounts.callers import Principal
from accounts.scopes import Scope
from chatservice.dialects.base import json_response
from chatservice.dialects.chat_v1 import documentation as docs
from chatservice.dialects.chat_v1.envelope import envelope
from chatservice.dialects.chat_v1.fields import Text
from chatservice.dialects.chat_v1.request_parsing import identifier, validated
from chatservice.dialects.chat_v1.views import ChatView
from chatservice.dialects.file_references import refusal
from chatservice.dialects.problems import BadRequest
from files.models import File
from files.public_ids import key_of
from foundation.database import in_database_thread
from imports.models import HistoryImport
from imports.services import ImportPending, cancel_import, start_import

SHOWN = 20


class NewImport(serializers.Serializer[Any]):
    file_id = Text(max_length=100, help_text="A file of the caller's, uploaded at `/v1/files`.")


class NotImported(serializers.Serializer[Any]):
    name = serializers.CharField(help_text="of a conversation, or of a file in the zip")
    reason = serializers.CharField()


class FailureSerializer(serializers.Serializer[Any]):
    code = serializers.ChoiceField(["unreadable", "too_large", "file_not_found", "interrupted"])
    message = serializers.CharField()


class ImportSerializer(serializers.ModelSerializer[HistoryImport]):
    """An import: how far it is, and what became of the conversations."""

    size = serializers.IntegerField(help_text="bytes to read, unpacked; 0 until the file is opened")
    read = serializers.IntegerField(help_text="bytes read so far")
    created = serializers.IntegerField(help_text="conversations that were added")
    extended = serializers.IntegerField(help_text="conversations of an earlier import that got new messages")
    unchanged = serializers.IntegerField(help_text="conversations that are there already")
    skipped = serializers.IntegerField(help_text="conversations that were refused")
    messages = serializers.IntegerField(help_text="messages that were added")
    files = serializers.IntegerField(help_text="pictures and files that were stored")
    not_imported = serializers.SerializerMethodField(help_text="what was refused or could not be read: the first ones")
    left_out = serializers.SerializerMethodField(help_text="what imports leave out, numbers by kind")
    error = serializers.SerializerMethodField(help_text="why nothing more is imported, if `state` is `failed`")

    class Meta:
        model = HistoryImport
        fields = (
            *("id", "state", "file_name", "size", "read", "created", "extended", "unchanged", "skipped", "messages"),
            *("files", "not_imported", "left_out", "error", "created_at", "finished_at"),
        )
        read_only_fields = fields

    @extend_schema_field(NotImported(many=True))
    def get_not_imported(self, row: HistoryImport) -> Any:
        pairs = [*row.report.get("unread", ()), *row.report.get("skipped", ())]
        return [{"name": name, "reason": reason} for name, reason in pairs]

    @extend_schema_field(serializers.DictField(child=serializers.IntegerField()))
    def get_left_out(self, row: HistoryImport) -> Any:
        return row.report.get("left_out", {})

    @extend_schema_field(FailureSerializer(allow_null=True))
    def get_error(self, row: HistoryImport) -> Any:
        return {"code": row.error_code, "message": row.error} if row.error_code else None


IMPORT = docs.enveloped("ImportEnvelope", ImportSerializer())
IMPORTS = docs.enveloped("ImportsEnvelope", ImportSerializer(many=True))


class ImportsView(ChatView):
    scopes = {"GET": Scope.READ, "POST": Scope.WRITE}

    @extend_schema(
        operation_id="list_imports",
        summary=f"The caller's last {SHOWN} imports, newest first",
        description="They are kept for a month.",
        responses={200: IMPORTS, **docs.errors(401, 429)},
    )
    async def get(self, request: HttpRequest, principal: Principal) -> HttpResponse:
        return json_response(envelope(await in_database_thread(_newest, principal)))

    @extend_schema(
        operation_id="start_import",
        summary="Import the conversations of an export that the caller has uploaded",
        description="A zip of ChatGPT's or Claude's as it was downloaded, a `conversations.json`, or JSONL: the "
        "content decides. It is read in the background. Importing a newer export adds only what is new. One import of "
        "an account at a time: `409` with `import_pending`. The file can be deleted when the import is over.",
        request=NewImport,
        responses={201: IMPORT, **docs.errors(400, 401, 409, 413, 415, 429)},
        examples=[docs.example("A file", {"file_id": "file-0190…"})],
    )
    async def post(self, request: HttpRequest, principal: Principal) -> HttpResponse:
        given = validated(request, NewImport)
        shown = await in_database_thread(_start, principal, given["file_id"])
        return json_response(envelope(shown, message="Import started successfully"), status=201)


class ImportView(ChatView):
    scopes = {"GET": Scope.READ}

    @extend_schema(
        operation_id="get_import",
        summary="An import: how far it is, or what became of it",
        responses={200: IMPORT, **docs.errors(401, 404, 429)},
    )
    async def get(self, request: HttpRequest, principal: Principal, import_id: str) -> HttpResponse:
        return json_response(envelope(await in_database_thread(_one, principal, import_id)))


class CancelImportView(ChatView):
    scopes = {"POST": Scope.WRITE}

    @extend_schema(
        operation_id="cancel_import",
        summary="Stop an import; what it has added stays",
        description="It ends at once, or before its next batch of messages: a moment later. One that is over stays as "
        "it is.",
        request=None,
        responses={200: IMPORT, **docs.errors(401, 404, 429)},
    )
    async def post(self, request: HttpRequest, principal: Principal, import_id: str) -> HttpResponse:
        return json_response(envelope(await in_database_thread(_cancel, principal, import_id)))


def _shown(row: HistoryImport) -> dict[str, Any]:
    return dict(ImportSerializer(row).data)


def _newest(principal: Principal) -> list[dict[str, Any]]:
    return list(map(_shown, HistoryImport.objects.visible_to(principal).order_by("-id")[:SHOWN]))


def _one(principal: Principal, import_id: str) -> dict[str, Any]:
    return _shown(HistoryImport.objects.visible_to(principal).get(pk=identifier(import_id)))


def _start(principal: Principal, file_id: str) -> dict[str, Any]:
    try:
        key = key_of(file_id)
        if key is None:
            raise File.DoesNotExist
        return _shown(start_import(principal=principal, file_id=key))
    except File.DoesNotExist as error:
        raise refusal("file_id", "There is no such file.", code="file_not_found") from error
    except ImportPending as error:
        message = "Another import of this account is not over. Wait for its end, or cancel it."
        raise BadRequest(message, code="import_pending", status=409) from error


def _cancel(principal: Principal, import_id: str) -> dict[str, Any]:
    return _shown(cancel_import(principal=principal, import_id=identifier(import_id)))
