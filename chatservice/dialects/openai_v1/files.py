"""`/v1/files`: uploaded files and their content."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.http.multipartparser import MultiPartParserError
from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema

from accounts.callers import Principal
from accounts.models import User
from accounts.scopes import Scope
from chatservice.dialects.base import json_response, problem_response
from chatservice.dialects.file_responses import file_response
from chatservice.dialects.openai_v1 import serializers
from chatservice.dialects.openai_v1.errors import render
from chatservice.dialects.openai_v1.pages import list_of, read_limit, read_order
from chatservice.dialects.openai_v1.reference import operation
from chatservice.dialects.openai_v1.views import ERRORS, OpenAIView
from chatservice.dialects.problems import STORAGE_UNAVAILABLE, BadRequest, refuse_bad_body
from files.models import File, FileText
from files.public_ids import key_of, public_id
from files.services import delete_file, store_file
from files.storage import StorageLost
from files.texts import explanation
from files.threads import in_file_thread
from files.uploads import OneFileHandler
from foundation.database import in_database_thread

MAX_PAGE = 10_000
EXPIRES_SECONDS = range(3_600, 2_592_001)
ANCHOR, SECONDS = "expires_after[anchor]", "expires_after[seconds]"
COMMON = {status: ERRORS[status] for status in (401, 429, 503)}
READ = {404: OpenApiResponse(serializers.OpenAIError, description="The caller has no such file"), **COMMON}
CONTENT: dict[Any, Any] = {
    (200, "*/*"): OpenApiTypes.BINARY,
    (206, "*/*"): OpenApiTypes.BINARY,
    416: OpenApiResponse(serializers.OpenAIError, description="The file has no such part"),
    **READ,
}
STATUS: dict[str | None, str] = {FileText.State.WAITING: "uploaded", FileText.State.FAILED: "error"}
RANGE = OpenApiParameter("Range", str, OpenApiParameter.HEADER, description="such as bytes=0-1023")


class FilesView(OpenAIView):
    scopes = {"GET": Scope.READ, "POST": Scope.WRITE}
    body_limit = "LIMIT_FILE_BYTES"

    @extend_schema(summary="The caller's files", **operation("GET /files", errors={400: ERRORS[400], **COMMON}))
    async def get(self, request: HttpRequest, principal: Principal) -> HttpResponse:
        files, limit = _listed(request.GET, principal)
        found = await in_database_thread(lambda: list(files[: limit + 1]))
        return json_response(list_of([file_object(file) for file in found[:limit]], has_more=len(found) > limit))

    @extend_schema(
        summary="Upload a file",
        description="`expires_after` is sent as the fields `expires_after[anchor]` and `expires_after[seconds]`.",
        **operation("POST /files", errors={**{status: ERRORS[status] for status in (400, 403, 413, 415)}, **COMMON}),
    )
    async def post(self, request: HttpRequest, principal: Principal) -> HttpResponse:
        refuse_bad_body(request)
        if request.content_type != "multipart/form-data":
            message = "Send the file as a form: 'Content-Type: multipart/form-data'."
            raise BadRequest(message, code="unsupported_media_type", status=415)
        try:
            file = await in_file_thread(_store, request, principal)
        except (OSError, StorageLost):  # the disk is full, or the storage is away
            return problem_response(STORAGE_UNAVAILABLE, render)
        return json_response(file_object(file))


def content_address(request: HttpRequest) -> Callable[[str], str]:
    """Return what gives the address of a file's content, by the file's id, as this client would call it."""
    return lambda file_id: request.build_absolute_uri(reverse("openai_v1:file-content", args=[file_id]))


class FileView(OpenAIView):
    scopes = {"GET": Scope.READ, "DELETE": Scope.WRITE}

    @extend_schema(summary="One file", **operation("GET /files/{file_id}", errors=READ))
    async def get(self, request: HttpRequest, principal: Principal, file_id: str) -> HttpResponse:
        return json_response(file_object(await in_database_thread(_find, principal, file_id)))

    @extend_schema(summary="Delete a file and its content", **operation("DELETE /files/{file_id}", errors=READ))
    async def delete(self, request: HttpRequest, principal: Principal, file_id: str) -> HttpResponse:
        file = await in_database_thread(_find, principal, file_id)
        if not await in_file_thread(lambda: delete_file(file=file)):
            raise Http404
        return json_response({"id": public_id(file.pk), "object": "file", "deleted": True})


class FileContentView(OpenAIView):
    scopes = {"GET": Scope.READ}

    @extend_schema(
        summary="The content of a file, or a part of it",
        **{**operation("GET /files/{file_id}/content", parameters=[RANGE], errors={}), "responses": CONTENT},
    )
    async def get(self, request: HttpRequest, principal: Principal, file_id: str) -> HttpResponseBase:
        file = await in_database_thread(_find, principal, file_id)
        return await file_response(request, file, render)


def file_object(file: File) -> dict[str, Any]:
    """Return a file as OpenAI shows it. Its status tells whether what it says has been read."""
    expires = {} if file.expires_at is None else {"expires_at": int(file.expires_at.timestamp())}
    explained = explanation(file.media_type, file.text_state or "", file.text_reason) if file.text_reason else ""
    return {
        "id": public_id(file.pk),
        "object": "file",
        "bytes": file.size,
        "created_at": int(file.created_at.timestamp()),
        **expires,
        "filename": file.name,
        "purpose": file.purpose,
        "status": STATUS.get(file.text_state, "processed"),
        **({"status_details": explained} if explained else {}),
    }


def _find(principal: Principal, file_id: str) -> File:
    if (key := key_of(file_id)) is None:
        raise Http404
    return File.objects.visible_to(principal).with_text_state().get(pk=key)


def _listed(query: Mapping[str, str], principal: Principal) -> tuple[QuerySet[File], int]:
    """Return the files that a list asks for, and how many of them; raises BadRequest."""
    limit, order = read_limit(query, default=MAX_PAGE, most=MAX_PAGE), read_order(query, default="desc")
    found = File.objects.visible_to(principal).uploaded().with_text_state()
    files = found.order_by("-id" if order == "desc" else "id")
    if "purpose" in query:
        files = files.filter(purpose=_purpose(query["purpose"]))
    if "after" in query:
        after = key_of(query["after"])
        if after is None:
            raise _invalid("after", "'after' must be the id of a file.")
        files = files.filter(**{"pk__lt" if order == "desc" else "pk__gt": after})
    return files, limit


def _store(request: HttpRequest, principal: Principal) -> File:
    """Read the form and store its file."""
    handler = OneFileHandler("file")
    request.upload_handlers = [handler]
    try:
        form, content = request.POST, request.FILES.get("file")
        purpose = _purpose(form.get("purpose"))
        expires_after = _expires_after(form)
        if content is None:
            raise _invalid("file", "The form has no file in the field 'file'.")
        file = store_file(
            owner_id=principal.user_id,
            content=content,
            name=content.name or "",
            purpose=purpose,
            expires_after=expires_after,
        )
        return File.objects.with_text_state().filter(pk=file.pk).first() or file
    except MultiPartParserError as error:
        raise BadRequest("The body is not a valid form.", code="invalid_form") from error
    except User.DoesNotExist as error:  # erased meanwhile
        raise Http404 from error
    finally:
        handler.close()


def _purpose(given: str | None) -> str:
    if given not in File.Purpose.values:
        raise _invalid("purpose", f"'purpose' must be one of {', '.join(File.Purpose.values)}.")
    return str(given)


def _expires_after(form: Mapping[str, str]) -> dt.timedelta | None:
    """Return the time to live, from fields in brackets as OpenAI's clients send them, or from an object in JSON."""
    given: Any = {name: form[field] for name, field in (("anchor", ANCHOR), ("seconds", SECONDS)) if field in form}
    if not given:
        if not (text := form.get("expires_after")):
            return None
        try:
            given = json.loads(text)
        except (ValueError, RecursionError):
            given = None
    anchor, seconds = (given.get("anchor"), str(given.get("seconds"))) if isinstance(given, dict) else (None, "")
    if anchor != "created_at":
        raise _invalid("expires_after", "'expires_after[anchor]' must be 'created_at'.")
    if not re.fullmatch(r"[0-9]{1,9}", seconds) or int(seconds) not in EXPIRES_SECONDS:
        limits = f"{EXPIRES_SECONDS[0]} to {EXPIRES_SECONDS[-1]}"
        raise _invalid("expires_after", f"'expires_after[seconds]' must be a whole number from {limits}.")
    return dt.timedelta(seconds=int(seconds))


def _invalid(param: str, message: str) -> BadRequest:
    return BadRequest(message, code="invalid_value", param=param)
