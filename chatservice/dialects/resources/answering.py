"""What generates: `messages:complete`, `/conversations/start` and `/conversations/{id}/message`."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from drf_spectacular.utils import extend_schema

from accounts.database import in_database_thread
from accounts.guests import owner_for
from accounts.principal import Principal
from chatservice.dialects.idempotency import fingerprint, key_of
from chatservice.dialects.json_body import read_object
from chatservice.dialects.problems import BadRequest
from chatservice.dialects.resources import serializers
from chatservice.dialects.resources.base import ResourceView, valid
from chatservice.dialects.resources.documentation import (
    COMPLETION,
    CONVERSATION_ID,
    EVENTS,
    GENERATE,
    IDEMPOTENCY_KEY,
    PK,
    answer_example,
    errors,
    request_example,
)
from chatservice.dialects.resources.replies import streamed, whole
from completions import services
from completions.answering import Answering, answer
from completions.asks import Ask
from completions.services import upstream_for
from completions.slots import take_stream_slot
from conversations.lookup import conversation_of


def ask_of(request: HttpRequest, principal: Principal, sent: dict[str, Any], *, place: str, **fields: Any) -> Ask:
    """Return the question in a validated body; `place` is what tells this request's address apart."""
    model = sent.get("model") or "default"
    model = settings.DEFAULT_MODEL if model == "default" else model
    key = key_of(request, sent.get("client_message_id"))
    return Ask(
        principal=principal,
        model=model,
        upstream=upstream_for(model),
        recall=sent.get("recall"),
        idempotency_key=key,
        fingerprint=fingerprint("resources", place, sent) if key else "",
        **fields,
    )


def question(text: str) -> tuple[dict[str, str], ...]:
    return ({"role": "user", "content": text},)


class CompleteView(ResourceView):
    @extend_schema(
        operation_id="complete_messages",
        summary="Answer the stored history, streamed or not",
        description=(
            "Answers the last message without an answer, and anew what broke off. While that answer is being "
            "written, joins it. `409` with `nothing_to_answer` when there is no such message."
        ),
        parameters=[CONVERSATION_ID, IDEMPOTENCY_KEY],
        request=serializers.CompleteRequest,
        responses={
            (200, "application/json"): serializers.Completion,
            **EVENTS,
            **errors(GENERATE),
        },
        examples=[
            request_example({"stream": False}, "not streamed"),
            request_example({"stream": True}, "streamed"),
            answer_example(COMPLETION),
        ],
    )
    async def post(self, request: HttpRequest, principal: Principal, conversation_id: str) -> HttpResponseBase:
        conversation = await in_database_thread(conversation_of, principal, conversation_id)
        sent = valid(serializers.CompleteRequest, read_object(request))
        ask = ask_of(request, principal, sent, place=conversation.pk.hex, conversation_id=conversation.pk)
        release = take_stream_slot(principal) if sent["stream"] else None
        streaming = False
        try:
            answering = await answer(ask, follow_any=False, again=True)
            if answering is None:
                raise BadRequest("There is no message to answer.", code="nothing_to_answer", status=409)
            if release is not None:
                response = await streamed(answering.run_id, None, release)
                streaming = response.streaming
            else:
                response = await whole(answering, _completion)
        finally:
            if release is not None and not streaming:
                release()
        return _named(response, conversation.pk, answering.run_id)


class StartView(ResourceView):
    @extend_schema(
        operation_id="start_conversation",
        summary="Start a conversation with a message, and wait for the reply",
        description="Any text may be the `user_id`; see the introduction.",
        parameters=[IDEMPOTENCY_KEY],
        request=serializers.StartRequest,
        responses={200: serializers.Started, **errors(tuple(set(GENERATE) - {404}))},
        examples=[
            request_example({"user_id": "123", "message": "Hello!"}),
            answer_example({"conversation_id": PK, "reply": "Hello! How can I help you today?"}),
        ],
    )
    async def post(self, request: HttpRequest, principal: Principal) -> HttpResponseBase:
        sent = valid(serializers.StartRequest, read_object(request))
        owner = await in_database_thread(owner_for, principal, sent["user_id"])
        ask = ask_of(
            request,
            principal,
            sent,
            place="start",
            owner_id=owner.user_id,
            end_user=owner.end_user,
            messages=question(sent["message"]),
        )
        accepted = await services.ask(ask)
        conversation_id = accepted.conversation_id
        response = await whole(
            Answering(accepted.run_id, accepted.message_id),
            lambda content, reason: {"conversation_id": str(conversation_id), "reply": content},
        )
        return _named(response, conversation_id, accepted.run_id)


class SendView(ResourceView):
    @extend_schema(
        operation_id="send_message",
        summary="Send a message, and wait for the reply",
        parameters=[CONVERSATION_ID, IDEMPOTENCY_KEY],
        request=serializers.SendRequest,
        responses={200: serializers.Reply, **errors(GENERATE)},
        examples=[
            request_example({"message": "Tell me a joke"}),
            answer_example({"reply": "Why don't programmers like nature? Too many bugs."}),
        ],
    )
    async def post(self, request: HttpRequest, principal: Principal, conversation_id: str) -> HttpResponseBase:
        conversation = await in_database_thread(conversation_of, principal, conversation_id)
        sent = valid(serializers.SendRequest, read_object(request))
        ask = ask_of(
            request,
            principal,
            sent,
            place=f"message {conversation.pk.hex}",
            conversation_id=conversation.pk,
            messages=question(sent["message"]),
        )
        accepted = await services.ask(ask)
        answering = Answering(accepted.run_id, accepted.message_id)
        response = await whole(answering, lambda content, reason: {"reply": content})
        return _named(response, conversation.pk, accepted.run_id)


def _completion(content: str, finish_reason: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    return {"choices": [{"finish_reason": finish_reason, "index": 0, "message": message}]}


def _named(response: HttpResponseBase, conversation_id: uuid.UUID | None, run_id: uuid.UUID) -> HttpResponseBase:
    """Say which conversation and run this is about: a failed one can be looked at, and tried again."""
    response.headers["X-Conversation-Id"] = str(conversation_id)
    response.headers["X-Run-Id"] = str(run_id)
    return response
