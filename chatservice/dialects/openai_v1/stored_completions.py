"""`/v1/chat/completions` as a list of what is stored: whatever API asked for it, an answer is read and deleted here."""

from __future__ import annotations

import uuid
from typing import Any

from django.http import HttpRequest, HttpResponse, QueryDict
from drf_spectacular.utils import extend_schema

from accounts.callers import Principal
from accounts.scopes import Scope
from chatservice.dialects.base import json_response
from chatservice.dialects.json_body import read_object
from chatservice.dialects.openai_v1.files import content_address
from chatservice.dialects.openai_v1.history import stored_completion, stored_message
from chatservice.dialects.openai_v1.ids import COMPLETION, completion_id, key_of
from chatservice.dialects.openai_v1.items import message_id_of
from chatservice.dialects.openai_v1.metadata import read_filters, read_metadata
from chatservice.dialects.openai_v1.pages import Page, list_of, read_page, unknown_position
from chatservice.dialects.openai_v1.reference import operation
from chatservice.dialects.openai_v1.views import ERRORS, ChatCompletionsView, OpenAIView
from chatservice.dialects.problems import BadRequest
from completions.models import Run
from completions.run_metadata import replace_metadata
from completions.stored_answers import delete_stored, list_stored
from conversations.branches import branch_ids, in_bulk
from conversations.models import load_parts
from foundation.database import in_database_thread

MAX_MODEL_CHARS = 200
READ = {status: ERRORS[status] for status in (400, 401, 404, 429)}


class CompletionsView(ChatCompletionsView):
    """Makes chat completions, and lists the stored ones."""

    scopes = {"GET": Scope.READ, "POST": Scope.GENERATE}

    @extend_schema(
        summary="The stored chat completions",
        description="All answers that ended well, or were cut by their length, whichever API they were asked through. "
        "`model` is the name that was asked for, `metadata[key]=value` finds those with all of these pairs.",
        **operation("GET /chat/completions", errors={status: ERRORS[status] for status in (400, 401, 429)}),
    )
    async def get(self, request: HttpRequest, principal: Principal) -> HttpResponse:
        return json_response(await in_database_thread(_list, principal, request.GET))


class CompletionView(OpenAIView):
    scopes = {"GET": Scope.READ, "POST": Scope.WRITE, "DELETE": Scope.WRITE}

    @extend_schema(
        summary="A stored chat completion", **operation("GET /chat/completions/{completion_id}", errors=READ)
    )
    async def get(self, request: HttpRequest, principal: Principal, completion_id: str) -> HttpResponse:
        return json_response(await in_database_thread(_retrieve, principal, completion_id))

    @extend_schema(
        summary="Replace the metadata of a stored chat completion",
        **operation("POST /chat/completions/{completion_id}", errors=READ | {413: ERRORS[413], 415: ERRORS[415]}),
    )
    async def post(self, request: HttpRequest, principal: Principal, completion_id: str) -> HttpResponse:
        return json_response(await in_database_thread(_update, principal, completion_id, read_object(request)))

    @extend_schema(
        summary="Delete a stored chat completion",
        description="The messages that it alone answers are deleted with it, and a conversation that is then empty.",
        **operation("DELETE /chat/completions/{completion_id}", errors=READ | {409: ERRORS[409]}),
    )
    async def delete(self, request: HttpRequest, principal: Principal, completion_id: str) -> HttpResponse:
        return json_response(await in_database_thread(_delete, principal, completion_id))


class CompletionMessagesView(OpenAIView):
    scopes = {"GET": Scope.READ}

    @extend_schema(
        summary="The messages that a stored chat completion answers",
        **operation("GET /chat/completions/{completion_id}/messages", errors=READ),
    )
    async def get(self, request: HttpRequest, principal: Principal, completion_id: str) -> HttpResponse:
        return json_response(await in_database_thread(_messages, request, principal, completion_id))


def _list(principal: Principal, query: QueryDict) -> dict[str, Any]:
    page, model = read_page(query, newest_first=False), query.get("model", "")
    if len(model) > MAX_MODEL_CHARS or "\x00" in model:
        raise BadRequest("'model' must be the name of a model.", code="invalid_value", param="model")
    after = key_of(page.after, COMPLETION)
    if page.after and after is None:
        raise unknown_position()
    runs = list_stored(
        principal,
        limit=page.limit + 1,
        after=after,
        newest_first=page.newest_first,
        model=model,
        metadata=read_filters(query),
    )
    return list_of([stored_completion(run) for run in runs[: page.limit]], has_more=len(runs) > page.limit)


def _retrieve(principal: Principal, text: str) -> dict[str, Any]:
    return stored_completion(_run(principal, text))


def _update(principal: Principal, text: str, body: dict[str, Any]) -> dict[str, Any]:
    run = _run(principal, text)
    if "metadata" not in body:
        raise BadRequest("'metadata' is missing.", code="missing_required_parameter", param="metadata")
    replace_metadata(run=run, metadata=read_metadata(body["metadata"]))
    return stored_completion(run)


def _delete(principal: Principal, text: str) -> dict[str, Any]:
    # One that was stopped or failed is deleted by its id, too, although it is not shown.
    run = _run(principal, text, whole=False)
    delete_stored(run=run)
    return {"object": "chat.completion.deleted", "id": completion_id(run.pk), "deleted": True}


def _messages(request: HttpRequest, principal: Principal, text: str) -> dict[str, Any]:
    page, answer = read_page(request.GET, newest_first=False), _run(principal, text).message
    ids = branch_ids(answer.conversation_id, answer.parent_id) if answer is not None else []
    shown = _part(ids[::-1] if page.newest_first else ids, page)
    rows = in_bulk(shown[: page.limit])
    found = [stored_message(rows[pk], content_address(request)) for pk in shown[: page.limit] if pk in rows]
    return list_of(found, has_more=len(shown) > page.limit)


def _part(ids: list[uuid.UUID], page: Page) -> list[uuid.UUID]:
    """Return the ids of a page, and one more if there are more."""
    start = 0
    if page.after:
        after = message_id_of(page.after)
        if after not in ids:
            raise unknown_position()
        start = ids.index(after) + 1
    return ids[start : start + page.limit + 1]


def _run(principal: Principal, text: str, *, whole: bool = True) -> Run:
    """Return the run of a completion that the caller owns, with its message; raises BadRequest (404)."""
    runs = Run.objects.visible_to(principal).filter(message__isnull=False).select_related("message")
    pk = key_of(text, COMPLETION)
    run = (runs.stored() if whole else runs).filter(pk=pk).first() if pk else None
    if run is None or run.message is None:
        raise BadRequest("There is no such completion.", code="not_found", status=404, param="completion_id")
    load_parts([run.message])
    return run
