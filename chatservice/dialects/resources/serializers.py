"""The request and response shapes of this dialect, as in its two documents. Unknown request fields are ignored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.models import User
from accounts.services import MAX_PASSWORD
from chatservice.dialects.attached_files import FileIds, FilesField, FilesMixin, TextOrFiles, attached_files
from chatservice.dialects.empty_answers import EmptyReasonMixin, empty_reason_field
from chatservice.dialects.idempotency import client_message_id_field
from chatservice.dialects.recalling import RecallField
from chatservice.dialects.searching import WhyFound
from conversations.models import Conversation, Message

MASK = "********"
TITLE_CHARS = min(settings.LIMIT_TITLE_CHARS or 200, 200)
ROLES = ("user", "assistant", "system")
ROLE = "user, assistant or system; developer, tool or function where another API stored that"


class Text(serializers.CharField):
    """A string, kept with its spaces; numbers are refused."""

    def __init__(self, *, limit: int = 0, setting: str = "", **options: Any) -> None:
        if setting:
            too_long = f"Ensure this field has no more than {{max_length}} characters ({setting})."
            options["error_messages"] = {"max_length": too_long}
        super().__init__(max_length=limit or None, trim_whitespace=False, **options)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        if not self.allow_blank and not data.strip():
            self.fail("blank")
        return super().to_internal_value(data)


@extend_schema_field({"oneOf": [{"type": "string", "maxLength": 200}, {"type": "integer"}]})
class Name(serializers.CharField):
    """A client's name for a user: a string or a number."""

    def to_internal_value(self, data: Any) -> str:
        if isinstance(data, float):
            self.fail("invalid")
        return super().to_internal_value(data)


class Boolean(serializers.BooleanField):
    """A JSON boolean; strings and numbers are refused."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


def said_field() -> Text:
    """Return the field of a message's text, in a request that is `TextOrFiles`."""
    return Text(limit=settings.LIMIT_MESSAGE_CHARS, setting="LIMIT_MESSAGE_CHARS", allow_blank=True)


def model_field() -> Text:
    return Text(limit=200, required=False, help_text="the configured model by default")


class ErrorDetail(serializers.Serializer[Any]):
    code = serializers.CharField()
    message = serializers.CharField()
    details = serializers.DictField(required=False, help_text="what is wrong with each field")
    request_id = serializers.CharField(required=False, help_text="as in the header X-Request-Id")


class ResourceError(serializers.Serializer[Any]):
    error = ErrorDetail()


class StreamEvent(serializers.Serializer[Any]):
    """One event of a stream, as EventSource reads it."""

    data = serializers.CharField(  # type: ignore[assignment]  # a field, not the property
        help_text="JSON, or [DONE] at the end"
    )
    id = serializers.CharField(required=False, help_text="where to resume: send it as Last-Event-ID")
    event = serializers.CharField(required=False, help_text="message, or resync (the complete text from its start)")


# --- Users


class NewUser(serializers.Serializer[Any]):
    username = Text(limit=150)
    password = Text(limit=MAX_PASSWORD)


class UserChange(serializers.Serializer[Any]):
    username = Text(limit=150, required=False)
    password = Text(limit=MAX_PASSWORD, required=False)
    current_password = Text(
        limit=MAX_PASSWORD,
        required=False,
        help_text="needed to change the password of an account that has one",
    )


class UserReplacement(UserChange):
    username = Text(limit=150)
    password = Text(limit=MAX_PASSWORD)


class Confirmation(serializers.Serializer[Any]):
    """Confirms the deletion of the account by its username or its password."""

    username = Text(limit=150, required=False)
    password = Text(limit=MAX_PASSWORD, required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs:
            raise serializers.ValidationError("Confirm with 'username' or 'password': deletion cannot be undone.")
        return attrs


class UserShape(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    username = serializers.CharField()
    created_at = serializers.DateTimeField(source="date_joined")


class CreatedUser(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    username = serializers.CharField()
    password = serializers.CharField(help_text="masked: the secret is never returned")

    def to_representation(self, instance: User) -> dict[str, str]:
        return {"id": str(instance.pk), "username": instance.username, "password": MASK}


# --- Conversations


class LabelledSerializer(serializers.Serializer[Any]):
    """A conversation. `end_user` is present only if the client gave a label as `user_id`."""

    def to_representation(self, instance: Conversation) -> dict[str, Any]:
        shape = super().to_representation(instance)
        if not shape["end_user"]:
            del shape["end_user"]
        return shape


class CreatedConversation(LabelledSerializer):
    id = serializers.UUIDField()
    title = serializers.CharField()
    user_id = serializers.UUIDField(source="owner_id", help_text="the account it belongs to")
    end_user = serializers.CharField(required=False, help_text="the label given as user_id")


class UserConversation(LabelledSerializer):
    conversation_id = serializers.UUIDField(source="id")
    title = serializers.CharField()
    user_id = serializers.UUIDField(source="owner_id")
    end_user = serializers.CharField(required=False)


class ConversationShape(LabelledSerializer):
    id = serializers.UUIDField()
    conversation_id = serializers.UUIDField(source="id")
    title = serializers.CharField()
    user_id = serializers.UUIDField(source="owner_id")
    end_user = serializers.CharField(required=False)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class Said(serializers.Serializer[Any]):
    role = serializers.CharField(help_text=ROLE)
    content = serializers.CharField(allow_blank=True)


class HistoryMessage(FilesMixin, EmptyReasonMixin, Said):
    files = FilesField(required=False)
    empty_reason = empty_reason_field()


class ConversationHistory(ConversationShape):
    messages = HistoryMessage(many=True)


class NewConversation(serializers.Serializer[Any]):
    title = Text(limit=TITLE_CHARS, setting="LIMIT_TITLE_CHARS", allow_blank=True, default="")
    user_id = Name(
        max_length=200,
        allow_blank=True,
        default="",
        help_text="an account created by guests, or a label; it never identifies the caller",
    )


class ConversationChange(serializers.Serializer[Any]):
    title = Text(limit=TITLE_CHARS, setting="LIMIT_TITLE_CHARS", allow_blank=True, required=False)
    user_id = Name(max_length=200, required=False, help_text="may be sent, but not changed")


class ConversationReplacement(ConversationChange):
    title = Text(limit=TITLE_CHARS, setting="LIMIT_TITLE_CHARS", allow_blank=True)


# --- Messages


class MessageShape(FilesMixin, EmptyReasonMixin, serializers.Serializer[Any]):
    id = serializers.IntegerField(source="position", help_text="the message's number in its conversation")
    role = serializers.CharField(help_text=ROLE)
    content = serializers.CharField(allow_blank=True)
    files = FilesField(required=False)
    empty_reason = empty_reason_field()


def shapes_of(messages: Sequence[Message]) -> list[Any]:
    """Return messages as this API shows them, with their files."""
    return list(MessageShape(messages, many=True, context={"files": attached_files(messages)}).data)


class NewMessage(TextOrFiles):
    role = serializers.ChoiceField(ROLES)
    content = said_field()
    file_ids = FileIds()


class MessageChange(TextOrFiles):
    role = serializers.ChoiceField(ROLES, required=False, help_text="may be sent, but not changed")
    content = said_field()
    file_ids = FileIds()


# --- Answers


class CompleteRequest(serializers.Serializer[Any]):
    stream = Boolean(default=False)
    model = model_field()
    recall = RecallField(required=False, allow_null=True)
    client_message_id = client_message_id_field()


class Choice(serializers.Serializer[Any]):
    finish_reason = serializers.CharField()
    index = serializers.IntegerField()
    message = Said()


class Completion(serializers.Serializer[Any]):
    choices = Choice(many=True)
    empty_reason = empty_reason_field()


class StartRequest(TextOrFiles):
    text_field = "message"

    user_id = Name(max_length=200, allow_blank=True, default="", help_text="any string")
    message = said_field()
    file_ids = FileIds()
    model = model_field()
    recall = RecallField(required=False, allow_null=True)
    client_message_id = client_message_id_field()


class Started(serializers.Serializer[Any]):
    conversation_id = serializers.UUIDField()
    reply = serializers.CharField(allow_blank=True)
    empty_reason = empty_reason_field()


class SendRequest(TextOrFiles):
    text_field = "message"

    message = said_field()
    file_ids = FileIds()
    model = model_field()
    recall = RecallField(required=False, allow_null=True)
    client_message_id = client_message_id_field()


class Reply(serializers.Serializer[Any]):
    reply = serializers.CharField(allow_blank=True)
    empty_reason = empty_reason_field()


class Recalled(serializers.Serializer[Any]):
    conversation_id = serializers.UUIDField()
    message_id = serializers.IntegerField(help_text="the message's number in its conversation")


class RunShape(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    status = serializers.ChoiceField(["queued", "running", "complete", "cancelled", "interrupted", "failed"])
    conversation_id = serializers.UUIDField(allow_null=True)
    message_id = serializers.IntegerField(source="message.position", allow_null=True, help_text="the answer's number")
    recalled = Recalled(
        many=True, allow_null=True, help_text="the messages quoted to the model; null if recall was not requested"
    )


# --- Search


class Neighbour(serializers.Serializer[Any]):
    id = serializers.IntegerField(help_text="the message's number in the same conversation")
    role = serializers.CharField(help_text=ROLE)
    excerpt = serializers.CharField(allow_blank=True, help_text="its text, cut at 200 characters")


class Hit(WhyFound):
    conversation_id = serializers.UUIDField()
    title = serializers.CharField(allow_blank=True)
    message = MessageShape()
    created_at = serializers.DateTimeField()
    before = Neighbour(allow_null=True)
    after = Neighbour(allow_null=True)
