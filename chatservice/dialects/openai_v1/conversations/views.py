"""The endpoints of `/v1/conversations`."""

from __future__ import annotations

import functools
from typing import Any

from django.http import HttpRequest, HttpResponse, QueryDict
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema

from accounts.callers import Principal
from accounts.scopes import Scope, require_scope
from chatservice.dialects.base import json_response
from chatservice.dialects.json_body import read_object
from chatservice.dialects.openai_v1.conversations.documents import CONVERSATION_LIST
from chatservice.dialects.openai_v1.conversations.items import (
    add_messages,
    find_item,
    items_of_message,
    list_items,
    read_items,
)
from chatservice.dialects.openai_v1.conversations.objects import (
    conversation_object,
    create_conversation,
    find_conversation,
    list_conversations,
    search_items,
)
from chatservice.dialects.openai_v1.ids import conversation_id as id_of
from chatservice.dialects.openai_v1.metadata import read_metadata
from chatservice.dialects.openai_v1.pages import DEFAULT, MOST, list_of, read_page
from chatservice.dialects.openai_v1.reference import operation
from chatservice.dialects.openai_v1.views import CONTENT_LIMIT, ERRORS, OpenAIView
from chatservice.dialects.problems import BadRequest
from chatservice.dialects.searching import MAX_QUERY_CHARS, PARAMETERS
from completions.models import Run
from completions.stopping import stop_and
from conversations import services
from conversations.embedded_files import as_files
from conversations.models import Message
from files.embedded import Arrived, taken_out
from files.threads import in_file_thread
from foundation.database import in_database_thread
from search.threads import in_search_thread

INCLUDE = (
    *("file_search_call.results", "web_search_call.results", "web_search_call.action.sources"),
    *("message.input_image.image_url", "computer_call_output.output.image_url", "code_interpreter_call.outputs"),
    *("reasoning.encrypted_content", "message.output_text.logprobs"),
)
FILTERS = ("mode", "role", "model", "since", "until", "archived", "end_user", "group")
READ = {status: ERRORS[status] for status in (400, 401, 404, 429)}
WRITE = READ | {status: ERRORS[status] for status in (403, 413, 415, 422)}
HELLO = {"type": "message", "role": "user", "content": "Hello"}


class ConversationsView(OpenAIView):
    scopes = {"GET": Scope.READ, "POST": Scope.WRITE}
    body_limit = CONTENT_LIMIT

    @extend_schema(
        operation_id="list_conversations",
        summary="The conversations, or with `query` the items that a search finds in them",
        description="The conversation that changed last comes first. A search returns the best hits, each with its "
        "conversation and score; its next page has the same query and the `cursor` of this one.",
        parameters=[
            OpenApiParameter("after", str, description="the id of the conversation after which the page begins"),
            OpenApiParameter("limit", {"type": "integer", "minimum": 1, "maximum": MOST, "default": DEFAULT}),
            OpenApiParameter("order", str, enum=("asc", "desc"), default="desc"),
            OpenApiParameter("query", str, description=f"what to search for, at most {MAX_QUERY_CHARS} characters"),
            OpenApiParameter("conversation_id", str, description="the conversation to search"),
            OpenApiParameter("cursor", str, description="`next_cursor` of the page before"),
            *(each for each in PARAMETERS if each.name in FILTERS),
        ],
        responses={200: CONVERSATION_LIST, **{status: ERRORS[status] for status in (400, 401, 403, 429)}},
    )
    async def get(self, request: HttpRequest, principal: Principal) -> HttpResponse:
        if "query" in request.GET:
            require_scope(principal, Scope.SEARCH)
            return json_response(await in_search_thread(search_items, principal, request.GET))
        return json_response(await in_database_thread(list_conversations, principal, request.GET))

    @extend_schema(
        summary="Create a conversation, with up to 20 items",
        **operation("POST /conversations", errors={code: WRITE[code] for code in WRITE if code != 404}),
        examples=[OpenApiExample("with an item", {"items": [HELLO]}, request_only=True)],
    )
    async def post(self, request: HttpRequest, principal: Principal) -> HttpResponse:
        conversation = await in_file_thread(create_conversation, principal, read_object(request), taken_out())
        return json_response(conversation_object(conversation))


class ConversationView(OpenAIView):
    scopes = {"GET": Scope.READ, "POST": Scope.WRITE, "DELETE": Scope.WRITE}

    @extend_schema(
        summary="A conversation",
        **operation("GET /conversations/{conversation_id}", errors=READ),
    )
    async def get(self, request: HttpRequest, principal: Principal, conversation_id: str) -> HttpResponse:
        found = await in_database_thread(find_conversation, principal, conversation_id)
        return json_response(conversation_object(found))

    @extend_schema(
        summary="Replace the metadata of a conversation",
        **operation("POST /conversations/{conversation_id}", errors=WRITE),
    )
    async def post(self, request: HttpRequest, principal: Principal, conversation_id: str) -> HttpResponse:
        return json_response(await in_database_thread(_update, principal, conversation_id, read_object(request)))

    @extend_schema(
        summary="Delete a conversation and everything in it",
        description="An answer that is being written is stopped first.",
        **operation("DELETE /conversations/{conversation_id}", errors=READ),
    )
    async def delete(self, request: HttpRequest, principal: Principal, conversation_id: str) -> HttpResponse:
        found = await in_database_thread(find_conversation, principal, conversation_id)
        delete = functools.partial(services.delete_conversation, conversation=found)
        await stop_and(Run.objects.filter(conversation=found), delete)
        return json_response({"id": id_of(found.pk), "object": "conversation.deleted", "deleted": True})


class ItemsView(OpenAIView):
    scopes = {"GET": Scope.READ, "POST": Scope.WRITE}
    body_limit = CONTENT_LIMIT

    @extend_schema(
        summary="The items of a conversation's shown branch",
        **operation("GET /conversations/{conversation_id}/items", errors=READ),
    )
    async def get(self, request: HttpRequest, principal: Principal, conversation_id: str) -> HttpResponse:
        return json_response(await in_database_thread(_items, principal, conversation_id, request.GET))

    @extend_schema(
        summary="Add up to 20 items at the end of a conversation's shown branch",
        examples=[OpenApiExample("a message", {"items": [HELLO]}, request_only=True)],
        **operation("POST /conversations/{conversation_id}/items", errors=WRITE),
    )
    async def post(self, request: HttpRequest, principal: Principal, conversation_id: str) -> HttpResponse:
        body = read_object(request)
        return json_response(await in_file_thread(_add, principal, conversation_id, body, request.GET, taken_out()))


class ItemView(OpenAIView):
    scopes = {"GET": Scope.READ, "DELETE": Scope.WRITE}

    @extend_schema(
        summary="An item of a conversation",
        **operation("GET /conversations/{conversation_id}/items/{item_id}", errors=READ),
    )
    async def get(self, request: HttpRequest, principal: Principal, conversation_id: str, item_id: str) -> HttpResponse:
        return json_response(await in_database_thread(_item, principal, conversation_id, item_id, request.GET))

    @extend_schema(
        summary="Delete an item, with all items of its message",
        description="What follows it stays. Returns the conversation.",
        **operation("DELETE /conversations/{conversation_id}/items/{item_id}", errors=READ | {409: ERRORS[409]}),
    )
    async def delete(
        self, request: HttpRequest, principal: Principal, conversation_id: str, item_id: str
    ) -> HttpResponse:
        return json_response(await in_database_thread(_delete_item, principal, conversation_id, item_id))


def _update(principal: Principal, text: str, body: dict[str, Any]) -> dict[str, Any]:
    found = find_conversation(principal, text)
    if "metadata" not in body:
        raise BadRequest("'metadata' is missing.", code="missing_required_parameter", param="metadata")
    metadata = read_metadata(body["metadata"])
    return conversation_object(services.update_conversation(conversation=found, metadata=metadata))


def _items(principal: Principal, text: str, query: QueryDict) -> dict[str, Any]:
    page, include = read_page(query, newest_first=True), _include(query)
    items = list_items(find_conversation(principal, text), page, include)
    return list_of(items[: page.limit], has_more=len(items) > page.limit)


def _add(principal: Principal, text: str, body: dict[str, Any], query: QueryDict, embedded: Arrived) -> dict[str, Any]:
    found, include = find_conversation(principal, text), _include(query)
    given = read_items(principal, body.get("items"))
    with as_files(given, owner_id=found.owner_id, among=embedded) as messages:
        added = add_messages(found, messages)
    return list_of([item for each in added for item in items_of_message(each, include)], has_more=False)


def _item(principal: Principal, text: str, item_id: str, query: QueryDict) -> dict[str, Any]:
    return _find(principal, text, item_id, _include(query))[1]


def _delete_item(principal: Principal, text: str, item_id: str) -> dict[str, Any]:
    message, _ = _find(principal, text, item_id)
    services.delete_message(message=message)
    return conversation_object(find_conversation(principal, text))


def _find(
    principal: Principal, text: str, item_id: str, include: tuple[str, ...] = ()
) -> tuple[Message, dict[str, Any]]:
    found = find_item(find_conversation(principal, text), item_id, include)
    if found is None:
        raise BadRequest("There is no such item.", code="not_found", status=404, param="item_id")
    return found


def _include(query: QueryDict) -> tuple[str, ...]:
    include = (*query.getlist("include"), *query.getlist("include[]"))
    if not set(include) <= set(INCLUDE):
        raise BadRequest(f"'include' must be among {', '.join(INCLUDE)}.", code="invalid_value", param="include")
    return include
