"""The chat API's conversations and messages; its answers are in stream_view.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.http import HttpRequest, HttpResponse
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.permissions import AllowAny

from accounts.callers import Principal
from accounts.origins import may_call_with_key
from accounts.scopes import Scope
from accounts.throttling import HOUR, enforce_for
from chatservice.dialects.attached_files import attached_files, parts_of
from chatservice.dialects.base import AsyncAPIView, json_response
from chatservice.dialects.chat import serializers
from chatservice.dialects.chat.documentation import CONVERSATION_ID, MESSAGE, MESSAGES, errors, number_up_to
from chatservice.dialects.chat.errors import render
from chatservice.dialects.json_body import read_object
from chatservice.dialects.problems import BadRequest
from completions.models import Run
from completions.stopping import stop_and
from conversations import services
from conversations.default_generation import default_generation
from conversations.file_parts import extras_with
from conversations.lookup import conversation_of, messages_in
from conversations.models import Conversation, Message
from foundation.database import in_database_thread

RESET = "Conversation reset successfully"


class ChatView(AsyncAPIView):
    render = staticmethod(render)
    permission_classes = [AllowAny]  # the authentication already refuses the others; guests may be admitted
    # No HEAD: it would run the GET, which creates a conversation or asks a model here.
    http_method_names = ["get", "post", "delete", "options"]


def refuse_speculation(request: HttpRequest) -> None:
    """Refuse a GET with side effects that no user intended: a browser's prefetch, or a link on another site."""
    purposes = f"{request.headers.get('sec-purpose', '')} {request.headers.get('purpose', '')}".lower()
    if "prefetch" in purposes or "prerender" in purposes or "preview" in purposes:
        raise BadRequest(
            "This request must not be prefetched: it would create something.", code="prefetch_refused", status=403
        )
    by_key = "authorization" in request.headers and may_call_with_key(request.headers.get("origin", ""))
    if request.headers.get("sec-fetch-site", "").lower() == "cross-site" and not by_key:
        raise BadRequest("This request must not come from another site.", code="cross_site_refused", status=403)


class ConversationsView(ChatView):
    scopes = {"GET": Scope.WRITE}

    @extend_schema(
        operation_id="create_conversation",
        summary="Create a conversation",
        description="Every call creates a conversation, and no response is cached. HEAD, prefetches and requests from "
        "other sites are refused.",
        responses={200: serializers.ConversationShape, **errors(401, 403, 422, 429)},
    )
    async def get(self, request: HttpRequest, principal: Principal) -> HttpResponse:
        refuse_speculation(request)
        conversation = await in_database_thread(_start, principal)
        return json_response(serializers.ConversationShape(conversation).data)


class ConversationView(ChatView):
    scopes = {"GET": Scope.READ, "DELETE": Scope.WRITE}

    @extend_schema(
        operation_id="get_conversation",
        summary="An existing conversation",
        parameters=[CONVERSATION_ID],
        responses={200: serializers.ConversationShape, **errors(401, 404)},
    )
    async def get(self, request: HttpRequest, principal: Principal, conversation_id: str) -> HttpResponse:
        conversation = await in_database_thread(conversation_of, principal, conversation_id)
        return json_response(serializers.ConversationShape(conversation).data)

    @extend_schema(
        operation_id="reset_conversation",
        summary="Delete all messages and keep the conversation",
        description="An answer that is being written is stopped first.",
        parameters=[CONVERSATION_ID],
        responses={200: serializers.ResetShape, **errors(401, 404)},
        examples=[OpenApiExample("reset", {"message": RESET}, response_only=True, status_codes=["200"])],
    )
    async def delete(self, request: HttpRequest, principal: Principal, conversation_id: str) -> HttpResponse:
        conversation = await in_database_thread(conversation_of, principal, conversation_id)
        runs = Run.objects.filter(conversation=conversation)
        await stop_and(runs, lambda: services.reset_conversation(conversation=conversation))
        return json_response({"message": RESET})


class MessageView(ChatView):
    scopes = {"POST": Scope.WRITE}

    @extend_schema(
        operation_id="send_message",
        summary="Store a user message",
        description="Only stores the message; `GET .../stream` answers it.",
        parameters=[CONVERSATION_ID],
        request=serializers.NewMessage,
        responses={201: serializers.MessageShape, **errors(400, 401, 404, 413, 415, 422)},
        examples=[
            OpenApiExample("question", {"content": "Hello, how are you?"}, request_only=True),
            OpenApiExample("stored", MESSAGE, response_only=True, status_codes=["201"]),
        ],
    )
    async def post(self, request: HttpRequest, principal: Principal, conversation_id: str) -> HttpResponse:
        conversation = await in_database_thread(conversation_of, principal, conversation_id)
        sent = serializers.NewMessage(data=read_object(request))
        sent.is_valid(raise_exception=True)
        [stored] = await in_database_thread(_store, principal, conversation, sent.validated_data)
        return json_response(stored, 201)


class MessagesView(ChatView):
    scopes = {"GET": Scope.READ}

    @extend_schema(
        operation_id="list_messages",
        summary="All messages, oldest first",
        description="An answer is listed once it is no longer being written, if it has text or is complete.",
        parameters=[
            CONVERSATION_ID,
            OpenApiParameter("limit", number_up_to(100), description="maximum number of messages; all by default"),
            OpenApiParameter("page", number_up_to(1_000_000), description="page number, from 1"),
        ],
        responses={200: serializers.MessageShape(many=True), **errors(400, 401, 404)},
        examples=[OpenApiExample("two messages", MESSAGES, response_only=True, status_codes=["200"])],
    )
    async def get(self, request: HttpRequest, principal: Principal, conversation_id: str) -> HttpResponse:
        conversation = await in_database_thread(conversation_of, principal, conversation_id)
        window = _window(request)
        return await in_database_thread(_listed, conversation, window)


def _listed(conversation: Conversation, window: slice) -> HttpResponse:
    """Return the list as a response. Not made in the event loop: ten thousand messages would delay every stream."""
    messages = messages_in(conversation)
    response = json_response(_shapes(messages[window]))
    response.headers["X-Total-Count"] = str(len(messages))
    return response


def _start(principal: Principal) -> Conversation:
    """Create a conversation; raises RateLimited if an address without a key creates too many."""
    if principal.is_guest:
        what = "conversations of guests at one address"
        enforce_for(principal, "creations", "LIMIT_GUEST_CREATIONS_PER_HOUR", what, window=HOUR)
    return services.start_conversation(owner_id=principal.user_id, generation=default_generation(principal.user_id))


def _store(principal: Principal, conversation: Conversation, sent: Mapping[str, Any]) -> list[Any]:
    content = sent["content"]
    parts = parts_of(principal, sent.get("file_ids") or (), param="fileIds")
    message = services.append_message(
        conversation=conversation, role=Message.Role.USER, content=content, extras=extras_with(content, parts)
    )
    return _shapes([message])


def _shapes(messages: Sequence[Message]) -> list[Any]:
    context = {"files": attached_files(messages)}
    return list(serializers.MessageShape(messages, many=True, context=context).data)


def _window(request: HttpRequest) -> slice:
    """Return which messages `?limit=&page=` select; raises BadRequest."""
    if "limit" not in request.GET and "page" not in request.GET:
        return slice(None)
    limit = _number(request, "limit", default=100, most=100)
    page = _number(request, "page", default=1, most=1_000_000)
    return slice((page - 1) * limit, page * limit)


def _number(request: HttpRequest, name: str, *, default: int, most: int) -> int:
    text = request.GET.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= most):
        raise BadRequest(f"'{name}' must be a whole number from 1 to {most}.", param=name)
    return int(text)
