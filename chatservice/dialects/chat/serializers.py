"""The request and response shapes of this dialect: camelCase, as in its document."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.conf import settings
from rest_framework import serializers

from chatservice.dialects.attached_files import DETAILS_HELP, FileIds, TextOrFiles, text_field
from chatservice.dialects.empty_answers import empty_reason_field
from conversations.models import Conversation, Message

TIME = "2024-02-01T12:00:00.000Z"


def iso(moment: dt.datetime) -> str:
    """Return a time in JavaScript's format: UTC, milliseconds, `Z`."""
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


class ErrorDetail(serializers.Serializer[Any]):
    code = serializers.CharField()
    message = serializers.CharField()
    details = serializers.DictField(required=False, help_text="what is wrong with each field")
    request_id = serializers.CharField(required=False, help_text="as in the header X-Request-Id")


class ChatError(serializers.Serializer[Any]):
    error = ErrorDetail()


class StreamEvent(serializers.Serializer[Any]):
    """One event of a stream, as EventSource reads it."""

    data = serializers.CharField(  # type: ignore[assignment]  # a field, not the property
        help_text="the next part of the answer; JSON in an `error` or `empty` event"
    )
    id = serializers.CharField(required=False, help_text="where to resume: send it as Last-Event-ID")
    event = serializers.CharField(
        required=False,
        help_text="message, error, empty (why the answer has no text), or resync (the complete text from its start)",
    )


class ConversationShape(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    createdAt = serializers.DateTimeField(help_text=f"like {TIME}")

    def to_representation(self, instance: Conversation) -> dict[str, str]:
        return {"id": str(instance.pk), "createdAt": iso(instance.created_at)}


class MessageFile(serializers.Serializer[Any]):
    """A file that a message refers to. Of one that was deleted, or expired, the other fields are null."""

    id = serializers.CharField()
    name = serializers.CharField(allow_null=True)
    mediaType = serializers.CharField(allow_null=True, source="media_type", help_text="told from the content")
    bytes = serializers.IntegerField(allow_null=True)
    text = text_field()
    textDetails = serializers.CharField(allow_null=True, source="text_details", help_text=DETAILS_HELP)


class MessageShape(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    conversationId = serializers.UUIDField()
    role = serializers.ChoiceField(Message.Role.choices)
    content = serializers.CharField()
    createdAt = serializers.DateTimeField(help_text=f"like {TIME}")
    files = MessageFile(many=True, required=False)
    emptyReason = empty_reason_field()

    def to_representation(self, instance: Message) -> dict[str, Any]:
        shape: dict[str, Any] = {
            "id": str(instance.pk),
            "conversationId": str(instance.conversation_id),
            "role": instance.role,
            "content": instance.content,
            "createdAt": iso(instance.created_at),
        }
        if files := self.context["files"].get(instance.pk):
            shape["files"] = MessageFile(files, many=True).data
        reason = instance.empty_reason
        return shape if reason is None else {**shape, "emptyReason": reason}


class Text(serializers.CharField):
    """A string, kept with its spaces; numbers are refused."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class NewMessage(TextOrFiles):
    """A message to store. Unknown fields are ignored."""

    content = Text(
        max_length=settings.LIMIT_MESSAGE_CHARS or None,
        allow_blank=True,
        trim_whitespace=False,
        error_messages={
            "max_length": "Ensure this field has no more than {max_length} characters (LIMIT_MESSAGE_CHARS)."
        },
    )
    fileIds = FileIds(source="file_ids")


class ResetShape(serializers.Serializer[Any]):
    message = serializers.CharField()
