"""The endpoints that wait for a model: generate, follow and stop answers."""

from __future__ import annotations

import uuid
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from drf_spectacular.utils import extend_schema

from accounts.authentication import KeyAuthentication
from accounts.callers import Principal
from accounts.scopes import Scope
from chatservice.dialects.attached_files import parts_of
from chatservice.dialects.base import AsyncAPIView, count_read, json_response
from chatservice.dialects.chat_v1 import documentation as docs
from chatservice.dialects.chat_v1.envelope import envelope
from chatservice.dialects.chat_v1.errors import render
from chatservice.dialects.chat_v1.pagination import MAX_LIMIT, PageRequest
from chatservice.dialects.chat_v1.request_parsing import (
    ask_again,
    ask_anew,
    ask_in,
    continue_answer,
    identifier,
    validated,
)
from chatservice.dialects.chat_v1.responses import represent, resumed, streamed, whole
from chatservice.dialects.chat_v1.serializers import (
    GenerationSerializer,
    NewMessage,
    NewStreamedMessage,
    StartedConversation,
)
from chatservice.dialects.leaving import ON_DISCONNECT
from chatservice.dialects.problems import BadRequest
from chatservice.dialects.run_requests import stop
from completions.continuing import find_resume_point
from completions.cursors import BadCursor, Cursor
from completions.models import Run
from conversations.branches import branch_ids, in_bulk
from conversations.models import Conversation, Message
from conversations.services import append_message
from foundation.database import in_database_thread

ASKING = (400, 401, 403, 404, 409, 413, 415, 422, 429, 503)
STOP_SECONDS = 2.0
EXAMPLE = {"content": "Hello, how are you?", "role": "user", "model": "openai/gpt-3.5-turbo", "temperature": 0.7}


class ChatView(AsyncAPIView):
    render = staticmethod(render)
    authentication = KeyAuthentication


class MessagesView(ChatView):
    scopes = {"GET": Scope.READ, "POST": Scope.GENERATE}
    starts_runs = frozenset({"POST"})

    @extend_schema(
        operation_id="list_messages",
        summary="The messages of a conversation, oldest first",
        parameters=docs.PAGE,
        responses={200: docs.MESSAGE_PAGE, **docs.errors(400, 401, 404, 429)},
    )
    async def get(self, request: HttpRequest, principal: Principal, conversation_id: str) -> HttpResponse:
        asked = PageRequest.read(request.GET, default_limit=MAX_LIMIT)
        return json_response(await in_database_thread(_page, principal, identifier(conversation_id), asked))

    @extend_schema(
        operation_id="create_message",
        summary="Send a message and wait for the complete answer",
        description="A message with the role assistant or system is stored, but not answered.",
        request=NewMessage,
        parameters=[docs.IDEMPOTENCY_KEY, ON_DISCONNECT],
        responses={201: docs.MESSAGES, 202: docs.QUEUED, **docs.errors(*ASKING, 502, 504)},
        examples=[docs.example("A question", EXAMPLE)],
    )
    async def post(self, request: HttpRequest, principal: Principal, conversation_id: str) -> HttpResponse:
        pk = identifier(conversation_id)
        given = validated(request, NewMessage)
        if given["role"] == Message.Role.USER:
            return await whole(request, await ask_in(pk, given, request, principal), shown=slice(None))
        await count_read(principal)  # counted as a read, because it starts no run
        stored = await in_database_thread(_store, principal, pk, given)
        return json_response(envelope([stored], message="Message created successfully"), 201)


class MessageStreamView(ChatView):
    scopes = {"POST": Scope.GENERATE}
    starts_runs = frozenset({"POST"})

    @extend_schema(
        operation_id="create_message_stream",
        summary="Send a message and receive the answer as it is written",
        request=NewStreamedMessage,
        parameters=[docs.IDEMPOTENCY_KEY, ON_DISCONNECT],
        responses={
            **docs.event_stream("user_message, ai_chunk…, then ai_complete or error, then [DONE]"),
            **docs.errors(*ASKING),
        },
        examples=[docs.example("A question", EXAMPLE)],
    )
    async def post(self, request: HttpRequest, principal: Principal, conversation_id: str) -> HttpResponseBase:
        pk = identifier(conversation_id)
        question = await ask_in(pk, validated(request, NewStreamedMessage), request, principal)
        return await streamed(request, principal, question, opening="user_message")


class ConversationStreamView(ChatView):
    scopes = {"POST": Scope.GENERATE}
    starts_runs = frozenset({"POST"})

    @extend_schema(
        operation_id="start_conversation_stream",
        summary="Create a conversation and receive its first answer as it is written",
        request=StartedConversation,
        parameters=[docs.IDEMPOTENCY_KEY, ON_DISCONNECT],
        responses={
            **docs.event_stream("conversation_created, ai_chunk…, then ai_complete or error, then [DONE]"),
            **docs.errors(*ASKING),
        },
        examples=[docs.example("A beginning", {"title": "Optional Title", "content": "First message content"})],
    )
    async def post(self, request: HttpRequest, principal: Principal) -> HttpResponseBase:
        question = await ask_anew(validated(request, StartedConversation), request, principal)
        return await streamed(request, principal, question, opening="conversation_created")


class RegenerateView(ChatView):
    scopes = {"POST": Scope.GENERATE}
    starts_runs = frozenset({"POST"})

    @extend_schema(
        operation_id="regenerate_message",
        summary="Regenerate an answer; the new one is shown from now on",
        request=GenerationSerializer,
        parameters=[docs.IDEMPOTENCY_KEY, ON_DISCONNECT],
        responses={201: docs.MESSAGE, 202: docs.QUEUED, **docs.errors(*ASKING, 502, 504)},
    )
    async def post(self, request: HttpRequest, principal: Principal, message_id: str) -> HttpResponse:
        answer = await in_database_thread(_answer, principal, identifier(message_id))
        return await whole(
            request, ask_again(answer, validated(request, GenerationSerializer), request, principal), shown=-1
        )


class RegenerateStreamView(ChatView):
    scopes = {"POST": Scope.GENERATE}
    starts_runs = frozenset({"POST"})

    @extend_schema(
        operation_id="regenerate_message_stream",
        summary="Regenerate an answer and receive it as it is written",
        request=GenerationSerializer,
        parameters=[docs.IDEMPOTENCY_KEY, ON_DISCONNECT],
        responses={
            **docs.event_stream("ai_chunk…, then ai_complete or error, then [DONE]"),
            **docs.errors(*ASKING),
        },
    )
    async def post(self, request: HttpRequest, principal: Principal, message_id: str) -> HttpResponseBase:
        answer = await in_database_thread(_answer, principal, identifier(message_id))
        question = ask_again(answer, validated(request, GenerationSerializer), request, principal)
        return await streamed(request, principal, question)


class ContinueView(ChatView):
    scopes = {"POST": Scope.GENERATE}
    starts_runs = frozenset({"POST"})

    @extend_schema(
        operation_id="continue_message",
        summary="Continue an answer that was cut off",
        description=docs.CONTINUE,
        request=GenerationSerializer,
        parameters=[docs.IDEMPOTENCY_KEY, ON_DISCONNECT],
        responses={201: docs.MESSAGE, 202: docs.QUEUED, **docs.errors(*ASKING, 502, 504)},
    )
    async def post(self, request: HttpRequest, principal: Principal, message_id: str) -> HttpResponse:
        resume_point = await in_database_thread(find_resume_point, principal, identifier(message_id))
        return await whole(
            request,
            continue_answer(resume_point, validated(request, GenerationSerializer), request, principal),
            shown=-1,
        )


class ContinueStreamView(ChatView):
    scopes = {"POST": Scope.GENERATE}
    starts_runs = frozenset({"POST"})

    @extend_schema(
        operation_id="continue_message_stream",
        summary="Continue an answer and receive it as it is written",
        description=f"{docs.CONTINUE} The stream starts with the text of the cut-off answer.",
        request=GenerationSerializer,
        parameters=[docs.IDEMPOTENCY_KEY, ON_DISCONNECT],
        responses={
            **docs.event_stream("ai_chunk…, then ai_complete or error, then [DONE]"),
            **docs.errors(*ASKING),
        },
    )
    async def post(self, request: HttpRequest, principal: Principal, message_id: str) -> HttpResponseBase:
        resume_point = await in_database_thread(find_resume_point, principal, identifier(message_id))
        question = continue_answer(resume_point, validated(request, GenerationSerializer), request, principal)
        return await streamed(request, principal, question)


class RunStreamView(ChatView):
    scopes = {"GET": Scope.READ}

    @extend_schema(
        operation_id="resume_stream",
        summary="Resume a stream, during the answer or after it, on any process",
        parameters=[docs.LAST_EVENT_ID, docs.AFTER, ON_DISCONNECT],
        responses={
            **docs.event_stream("The events after the cursor; `resync` carries the complete text so far"),
            **docs.errors(400, 401, 404, 429),
        },
    )
    async def get(self, request: HttpRequest, principal: Principal, run_id: str) -> HttpResponseBase:
        pk = await in_database_thread(_run_of, principal, "id", identifier(run_id))
        text = request.headers.get("last-event-id") or request.GET.get("after")
        after = Cursor.parse(text) if text else None
        if after is not None and after.run_id != pk:
            raise BadCursor("This is a cursor of another run.")
        return await resumed(request, principal, pk, after)


CANCELLING: dict[str, Any] = {
    "request": None,
    "responses": {200: docs.MESSAGE, 202: docs.MESSAGE, **docs.errors(401, 404)},
}


class CancelMessageView(ChatView):
    scopes = {"POST": Scope.GENERATE}

    @extend_schema(operation_id="cancel_message", summary="Stop an answer; its text so far is kept", **CANCELLING)
    async def post(self, request: HttpRequest, principal: Principal, message_id: str) -> HttpResponse:
        return await _cancelled(principal, "message_id", message_id)


class CancelRunView(ChatView):
    scopes = {"POST": Scope.GENERATE}

    @extend_schema(operation_id="cancel_run", summary="Stop an answer by the id of its run", **CANCELLING)
    async def post(self, request: HttpRequest, principal: Principal, run_id: str) -> HttpResponse:
        return await _cancelled(principal, "id", run_id)


async def _cancelled(principal: Principal, named_by: str, pk: str) -> HttpResponse:
    """Stop the run whose field `named_by` is `pk`; return its message after that."""
    run_id = await in_database_thread(_run_of, principal, named_by, identifier(pk))
    status = 200 if await stop(run_id, seconds=STOP_SECONDS) else 202
    return json_response(envelope(await in_database_thread(_message_of, run_id)), status)


def _page(principal: Principal, conversation_id: uuid.UUID, asked: PageRequest) -> dict[str, Any]:
    conversation = Conversation.objects.visible_to(principal).get(pk=conversation_id)
    ids = branch_ids(conversation.pk, conversation.head_id)
    shown = ids[asked.cut(len(ids))]
    rows = in_bulk(shown)
    return envelope(represent([rows[pk] for pk in shown if pk in rows], reader=principal), meta=asked.meta(len(ids)))


def _store(principal: Principal, conversation_id: uuid.UUID, given: dict[str, Any]) -> dict[str, Any]:
    conversation = Conversation.objects.visible_to(principal).get(pk=conversation_id)
    parts_of(principal, given.get("file_ids") or (), role=given["role"])  # refuses all: a model takes no such files
    message = append_message(
        conversation=conversation,
        role=given["role"],
        content=given["content"],
        parent_id=given.get("parent_id"),
        model=given.get("model", ""),
    )
    return represent([message])[0]


def _answer(principal: Principal, message_id: uuid.UUID) -> Message:
    message = Message.objects.visible_to(principal).get(pk=message_id)
    if message.role != Message.Role.ASSISTANT or message.parent_id is None:
        raise BadRequest("Only an answer to a message can be regenerated.", code="not_an_answer")
    return message


def _run_of(principal: Principal, name: str, value: uuid.UUID) -> uuid.UUID:
    return Run.objects.visible_to(principal).values_list("id", flat=True).get(**{name: value})


def _message_of(run_id: uuid.UUID) -> dict[str, Any] | None:
    message = Run.objects.select_related("message").get(pk=run_id).message
    return represent([message])[0] if message is not None else None
