"""The parts of this dialect's OpenAPI document: envelopes, errors, streams, examples."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, inline_serializer
from rest_framework import serializers

from chatservice.dialects.chat_v1.pagination import MAX_LIMIT
from chatservice.dialects.chat_v1.serializers import (
    ConversationDetailSerializer,
    ConversationSerializer,
    MessageSerializer,
    QueuedRunSerializer,
)
from chatservice.dialects.idempotency import KEY


def enveloped(name: str, data: Any) -> Any:
    fields = {"success": serializers.BooleanField(), "data": data, "message": serializers.CharField(required=False)}
    return inline_serializer(name, fields)


def _meta() -> Any:
    names = ("total", "page", "limit", "totalPages")
    return inline_serializer("PageMeta", {name: serializers.IntegerField() for name in names})


CONVERSATION = enveloped("ConversationEnvelope", ConversationSerializer())
CONVERSATION_DETAIL = enveloped("ConversationDetailEnvelope", ConversationDetailSerializer())
MESSAGE = enveloped("MessageEnvelope", MessageSerializer())
MESSAGES = enveloped("MessagesEnvelope", MessageSerializer(many=True))
QUEUED = OpenApiResponse(
    enveloped("QueuedRunEnvelope", QueuedRunSerializer()),
    description="With `when_busy: queue`: the question is stored, and is answered when the answer before it is over",
)
MESSAGE_PAGE = inline_serializer(
    "MessagePage", {"success": serializers.BooleanField(), "data": MessageSerializer(many=True), "meta": _meta()}
)
DELETED = enveloped("DeletedEnvelope", serializers.JSONField(allow_null=True, default=None))
ERROR = inline_serializer(
    "ErrorEnvelope",
    {
        "success": serializers.BooleanField(default=False),
        "message": serializers.CharField(),
        "error": inline_serializer(
            "Error",
            {
                "code": serializers.CharField(),
                "details": serializers.DictField(),
                "request_id": serializers.CharField(required=False),
            },
        ),
    },
)
DESCRIPTIONS = {
    400: "The request is not valid",
    401: "No valid key",
    403: "Not confirmed, or a model, a parameter or a search that is not allowed",
    404: "It does not exist, or it belongs to somebody else",
    409: "An answer is being written right now, or another import is not over",
    413: "The body is too large",
    415: "The body is not JSON",
    422: "A limit is reached, or the Idempotency-Key belongs to another request",
    429: "Too many requests or answers",
    502: "The model's server failed; its text so far is stored",
    503: "The service is restarting",
    504: "The model's server did not answer in time",
}
ARCHIVED = OpenApiParameter("archived", str, enum=["false", "true", "all"], default="false")
PINNED = OpenApiParameter("pinned", str, enum=["false", "true", "all"], default="all")
TAG = OpenApiParameter("tag", str, description="Only conversations with this tag, in any case")
CONTINUE = (
    "For an answer that was interrupted, was stopped, failed after its first tokens, or reached the length limit: "
    "a new answer beside it, which is shown from now on, starts with its text and continues it. The first one is "
    "kept unchanged. `409` with `nothing_to_continue` for any other message."
)
IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    KEY,
    OpenApiParameter.HEADER,
    description="Requests with the same key and body get the same answer",
)
LAST_EVENT_ID = OpenApiParameter(
    "Last-Event-ID", str, OpenApiParameter.HEADER, description="The `id` of the last event received"
)
AFTER = OpenApiParameter("after", str, description="Same as Last-Event-ID, for clients that cannot set headers")
PAGE = [
    OpenApiParameter("page", int, default=1),
    OpenApiParameter("limit", int, default=MAX_LIMIT, description=f"1 to {MAX_LIMIT}"),
]
STREAM_EXAMPLE = (
    'data: {"type": "user_message", "data": {"id": "…", "role": "user", "content": "Hello"}}\n\n'
    'data: {"type": "ai_chunk", "data": "Hi"}\n\n'
    'data: {"type": "ai_complete", "data": {"id": "…", "role": "assistant", "content": "Hi"}}\n\n'
    "data: [DONE]\n\n"
)
EVENT_EXAMPLE = {"id": "01890a5dac96774bbcceb302099a8057.1.2", "data": '{"type": "ai_chunk", "data": "Hi"}'}


class StreamEvent(serializers.Serializer[Any]):
    """One event of a stream, as EventSource reads it."""

    data = serializers.CharField(  # type: ignore[assignment]  # a field, not the property
        help_text="JSON: {type, data}; or [DONE] at the end"
    )
    id = serializers.CharField(required=False, help_text="where to resume: send it as Last-Event-ID")


def errors(*statuses: int) -> dict[int, OpenApiResponse]:
    return {status: OpenApiResponse(ERROR, description=DESCRIPTIONS[status]) for status in statuses}


def example(name: str, body: Any) -> OpenApiExample:
    return OpenApiExample(name, body, request_only=True)


def event_stream(description: str) -> dict[Any, Any]:
    shown = OpenApiExample("An event", EVENT_EXAMPLE, response_only=True, media_type="text/event-stream")
    description = f"{description}\n```\n{STREAM_EXAMPLE}```"
    response = OpenApiResponse(StreamEvent, description=description, examples=[shown])
    return {(200, "text/event-stream"): response}
