"""The caller's feedback on an answer: a rating, and a comment if they like."""

from __future__ import annotations

import uuid
from typing import Any

from django.http import HttpRequest, HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers

from accounts.callers import Principal
from accounts.scopes import Scope
from chatservice.dialects.base import json_response
from chatservice.dialects.chat_v1 import documentation as docs
from chatservice.dialects.chat_v1.envelope import envelope
from chatservice.dialects.chat_v1.fields import Text
from chatservice.dialects.chat_v1.request_parsing import identifier, validated
from chatservice.dialects.chat_v1.serializers import FeedbackSerializer
from chatservice.dialects.chat_v1.views import ChatView
from feedback.models import MAX_COMMENT_CHARS, Feedback
from feedback.services import delete_feedback, set_feedback
from foundation.database import in_database_thread


class FeedbackRequest(serializers.Serializer[Any]):
    rating = serializers.ChoiceField(Feedback.Rating.values)
    comment = Text(required=False, allow_blank=True, default="", max_length=MAX_COMMENT_CHARS)


class FeedbackView(ChatView):
    scopes = {"PUT": Scope.WRITE, "DELETE": Scope.WRITE}

    @extend_schema(
        operation_id="set_feedback",
        summary="Say what the caller thinks of an answer; replaces what they said before",
        description="Staff can see the rating, and the comment like the content of the conversation: for a reason that "
        "the access log keeps. `409` while the answer is being written.",
        request=FeedbackRequest,
        responses={
            200: docs.enveloped("FeedbackEnvelope", FeedbackSerializer()),
            **docs.errors(400, 401, 404, 409, 413, 415, 429),
        },
        examples=[docs.example("A thumb and a word", {"rating": "down", "comment": "The date is wrong."})],
    )
    async def put(self, request: HttpRequest, principal: Principal, message_id: str) -> HttpResponse:
        given = validated(request, FeedbackRequest)
        shown = await in_database_thread(_set, principal, identifier(message_id), given)
        return json_response(envelope(shown, message="Feedback stored successfully"))

    @extend_schema(
        operation_id="delete_feedback",
        summary="Take the caller's feedback on an answer back",
        responses={200: docs.DELETED, **docs.errors(401, 404, 429)},
    )
    async def delete(self, request: HttpRequest, principal: Principal, message_id: str) -> HttpResponse:
        pk = identifier(message_id)
        await in_database_thread(lambda: delete_feedback(principal=principal, message_id=pk))
        return json_response(envelope(None, message="Feedback deleted successfully"))


def _set(principal: Principal, message_id: uuid.UUID, given: dict[str, Any]) -> dict[str, Any]:
    return dict(FeedbackSerializer(set_feedback(principal=principal, message_id=message_id, **given)).data)
