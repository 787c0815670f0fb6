"""The endpoints that generate answers: `messages:complete`, `/conversations/start`, `/conversations/{id}/message`."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponseBase
from drf_spectacular.utils import extend_schema

from accounts.callers import Principal
from accounts.guests import owner_for
from accounts.scopes import Scope
from chatservice.dialects.attached_files import user_message
from chatservice.dialects.base import count_run
from chatservice.dialects.idempotency import key_of
from chatservice.dialects.json_body import read_object
from chatservice.dialects.leaving import ON_DISCONNECT, Leaving, read_leaving
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
from chatservice.dialects.resources.responses import streamed, whole
from chatservice.dialects.run_requests import make_run_request, submit, with_default_generation
from chatservice.dialects.run_responses import name_run, tell_rates
from completions.pending import answer
from completions.run_requests import RunRequest
from completions.stream_limits import acquire_stream
from conversations.lookup import conversation_of
from foundation.database import in_database_thread


def ask_of(
    request: HttpRequest, principal: Principal, sent: dict[str, Any], *, place: str, **fields: Any
) -> RunRequest:
    """Return the run request in a validated body; `place` distinguishes requests to different paths."""
    return make_run_request(
        principal,
        model=sent.get("model"),
        key=key_of(request, sent.get("client_message_id")),
        identity=("resources", place, sent),
        recall=sent.get("recall"),
        **fields,
    )


def leaving_of(request: HttpRequest, run_request: RunRequest) -> Leaving:
    return read_leaving(request, "resources", keyed=bool(run_request.idempotency_key))


class CompleteView(ResourceView):
    scopes = {"POST": Scope.GENERATE}
    starts_runs = frozenset({"POST"})

    @extend_schema(
        operation_id="complete_messages",
        summary="Generate an answer to the stored history, streamed or not",
        description=(
            "Answers the last message that has no answer, or regenerates an answer that was cut off. Joins an "
            "answer that is being written. `409` with `nothing_to_answer` when there is no such message."
        ),
        parameters=[CONVERSATION_ID, IDEMPOTENCY_KEY, ON_DISCONNECT],
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
        run_request = ask_of(request, principal, sent, place=conversation.pk.hex, conversation_id=conversation.pk)
        leaving = leaving_of(request, run_request)
        release = acquire_stream(principal) if sent["stream"] else None
        streaming = False
        try:
            answering = await answer(run_request, follow_any=False, again=True)
            if answering is None:
                raise BadRequest("There is no message to answer.", code="nothing_to_answer", status=409)
            await count_run(principal, joined=answering.joined)
            if release is not None:
                response = await streamed(principal, answering.run_id, None, leaving, release)
                streaming = response.streaming
            else:
                response = await whole(answering, leaving, _completion)
        finally:
            if release is not None and not streaming:
                release()
        name_run(response, answering.run_id, conversation.pk)
        tell_rates(response, answering.rates)
        return response


class StartView(ResourceView):
    scopes = {"POST": Scope.GENERATE}
    starts_runs = frozenset({"POST"})

    @extend_schema(
        operation_id="start_conversation",
        summary="Start a conversation with a message, and wait for the reply",
        description="`user_id` may be any string; see the introduction.",
        parameters=[IDEMPOTENCY_KEY, ON_DISCONNECT],
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
        run_request = ask_of(
            request,
            principal,
            sent,
            place="start",
            owner_id=owner.user_id,
            end_user=owner.end_user,
            messages=(await user_message(principal, sent["message"], sent.get("file_ids")),),
        )
        leaving = leaving_of(request, run_request)
        handle = await submit(await with_default_generation(run_request))
        conversation_id = handle.conversation_id
        response = await whole(
            handle,
            leaving,
            lambda content, reason: {"conversation_id": str(conversation_id), "reply": content},
        )
        name_run(response, handle.run_id, conversation_id)
        tell_rates(response, handle.rates)
        return response


class SendView(ResourceView):
    scopes = {"POST": Scope.GENERATE}
    starts_runs = frozenset({"POST"})

    @extend_schema(
        operation_id="send_message",
        summary="Send a message, and wait for the reply",
        parameters=[CONVERSATION_ID, IDEMPOTENCY_KEY, ON_DISCONNECT],
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
        run_request = ask_of(
            request,
            principal,
            sent,
            place=f"message {conversation.pk.hex}",
            conversation_id=conversation.pk,
            messages=(await user_message(principal, sent["message"], sent.get("file_ids")),),
        )
        leaving = leaving_of(request, run_request)
        handle = await submit(run_request)
        response = await whole(handle, leaving, lambda content, reason: {"reply": content})
        name_run(response, handle.run_id, conversation.pk)
        tell_rates(response, handle.rates)
        return response


def _completion(content: str, finish_reason: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    return {"choices": [{"finish_reason": finish_reason, "index": 0, "message": message}]}
