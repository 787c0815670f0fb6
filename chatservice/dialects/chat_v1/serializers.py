"""The request and response shapes of this dialect."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from rest_framework import serializers

from chatservice.dialects.attached_files import FileIds, FilesField, TextOrFiles
from chatservice.dialects.chat_v1.fields import Boolean, Identifier, Integer, Number, Object, Tags, Text
from chatservice.dialects.empty_answers import EmptyReasonMixin, empty_reason_field
from chatservice.dialects.generation_settings import GenerationField
from chatservice.dialects.idempotency import client_message_id_field
from chatservice.dialects.recalling import RecallField, StoredRecall
from completions.run_requests import WhenBusy
from conversations.finish_reasons import shown
from conversations.models import AccessLogEntry, Conversation, Message
from feedback.models import Feedback

ROLES = (Message.Role.USER, Message.Role.ASSISTANT, Message.Role.SYSTEM)


class ConversationSerializer(serializers.ModelSerializer[Conversation]):
    """A conversation as in the API's document."""

    title = Text(required=False, allow_blank=True, limit="LIMIT_TITLE_CHARS", max_length=200)
    user_id = serializers.UUIDField(source="owner_id", read_only=True)

    class Meta:
        model = Conversation
        fields = ("id", "title", "user_id", "created_at", "updated_at")


class ConversationDetailSerializer(ConversationSerializer):
    """A conversation with those of its fields that can be changed besides the title."""

    archived = Boolean(required=False, source="archived_at")
    pinned = Boolean(required=False, source="pinned_at")
    metadata = Object(required=False)
    recall = StoredRecall(required=False, allow_null=True)
    generation = GenerationField()
    tags = Tags(required=False)

    class Meta(ConversationSerializer.Meta):
        fields = (  # type: ignore[assignment]
            *ConversationSerializer.Meta.fields,
            *("archived", "pinned", "metadata", "recall", "generation", "tags"),
        )

    def to_representation(self, instance: Conversation) -> dict[str, Any]:
        flags = {"archived": instance.archived_at is not None, "pinned": instance.pinned_at is not None}
        return {**super().to_representation(instance), **flags}

    def validate_archived(self, archived: bool) -> Any:
        return self._since("archived_at", archived)

    def validate_pinned(self, pinned: bool) -> Any:
        return self._since("pinned_at", pinned)

    def _since(self, name: str, is_set: bool) -> Any:
        """Return since when a flag is set: what is set again keeps its moment."""
        return (getattr(self.instance, name, None) or timezone.now()) if is_set else None


class NewConversation(serializers.Serializer[Any]):
    title = Text(
        required=False, allow_blank=True, allow_null=True, default="", limit="LIMIT_TITLE_CHARS", max_length=200
    )
    metadata = Object(required=False)
    recall = StoredRecall(required=False, allow_null=True)
    generation = GenerationField()

    def validate_title(self, title: str | None) -> str:
        return title or ""

    def to_representation(self, instance: Conversation) -> dict[str, Any]:
        return ConversationSerializer(instance).data


class FeedbackSerializer(serializers.ModelSerializer[Feedback]):
    """What the caller thinks of an answer. `rating` is up or down."""

    class Meta:
        model = Feedback
        fields = ("rating", "comment", "created_at", "updated_at")


class MessageSerializer(EmptyReasonMixin, serializers.ModelSerializer[Message]):
    """A message. `status` is complete, in_progress, interrupted, cancelled or failed."""

    conversation_id = serializers.UUIDField(read_only=True)
    parent_id = serializers.UUIDField(read_only=True, allow_null=True)
    model = serializers.SerializerMethodField()
    finish_reason = serializers.SerializerMethodField()
    usage = serializers.DictField(read_only=True, allow_null=True)
    files = FilesField(read_only=True)
    empty_reason = empty_reason_field()
    # Not in messages without any, and in none while its answer is being given.
    feedback = FeedbackSerializer(required=False, help_text="the caller's own, where they gave any")

    class Meta:
        model = Message
        fields = (
            *("id", "conversation_id", "parent_id", "role", "content", "files", "model"),
            *("status", "finish_reason", "usage", "created_at", "empty_reason", "feedback"),
        )
        read_only_fields = fields

    def get_model(self, message: Message) -> str | None:
        return message.model or None

    def get_finish_reason(self, message: Message) -> str | None:
        return shown(message.finish_reason)


class AccessLogEntrySerializer(serializers.ModelSerializer[AccessLogEntry]):
    """One access: `kind` is transcript, search, export, or key (the reader made a key of this account).

    `reader` is a username of staff, `reason` the one they gave. `title` and `end_user` are the
    conversation's, null once it is deleted.
    """

    reader = serializers.CharField(source="reader_name", read_only=True)
    title = serializers.CharField(read_only=True, allow_null=True)
    end_user = serializers.CharField(read_only=True, allow_null=True)

    class Meta:
        model = AccessLogEntry
        fields = ("id", "created_at", "kind", "reader", "reason", "conversation_id", "title", "end_user")
        read_only_fields = fields


class QueuedRunSerializer(serializers.Serializer[Any]):
    """A run that waits for the answer before it. Follow it at `/v1/chat/runs/{id}/stream`, or cancel it."""

    id = serializers.UUIDField()
    status = serializers.ChoiceField(["queued"])
    conversation_id = serializers.UUIDField()
    message_id = serializers.UUIDField(help_text="the answer, which is empty until its run begins")
    question_id = serializers.UUIDField(allow_null=True)


class GenerationSerializer(serializers.Serializer[Any]):
    """Generation parameters: all are optional; those given are passed to the model's server."""

    model = Text(required=False, max_length=200, help_text="'default' is the configured model")
    recall = RecallField(required=False, allow_null=True)
    temperature = Number(required=False, allow_null=True, min_value=0, max_value=2)
    top_p = Number(required=False, allow_null=True, min_value=0, max_value=1)
    frequency_penalty = Number(required=False, allow_null=True, min_value=-2, max_value=2)
    presence_penalty = Number(required=False, allow_null=True, min_value=-2, max_value=2)
    max_tokens = Integer(required=False, allow_null=True, min_value=1, max_value=2**31 - 1)
    max_completion_tokens = Integer(required=False, allow_null=True, min_value=1, max_value=2**31 - 1)
    seed = Integer(required=False, allow_null=True, min_value=-(2**63), max_value=2**63 - 1)
    client_message_id = client_message_id_field()
    when_busy = serializers.ChoiceField(
        [str(each) for each in WhenBusy],
        required=False,
        allow_null=True,
        help_text="what to do while an answer is being written in the conversation: reject (the default) answers 409, "
        "interrupt stops that answer and keeps its text, queue waits for it",
    )
    stop = serializers.JSONField(required=False, allow_null=True, help_text="a string, or a list of up to four strings")

    def validate_stop(self, stop: Any) -> Any:
        texts = [stop] if isinstance(stop, str) else stop
        if texts is not None and not (
            isinstance(texts, list) and len(texts) <= 4 and all(isinstance(text, str) for text in texts)
        ):
            raise serializers.ValidationError("A string, or a list of up to four strings.")
        return stop


class NewMessage(TextOrFiles, GenerationSerializer):
    content = Text(limit="LIMIT_MESSAGE_CHARS", allow_blank=True)
    file_ids = FileIds()
    role = serializers.ChoiceField(choices=[str(role) for role in ROLES], default=str(Message.Role.USER))
    parent_id = Identifier(
        required=False,
        allow_null=True,
        help_text="the message to append to; null: a new branch at the root; omitted: the end of the shown branch",
    )


class NewStreamedMessage(NewMessage):
    """A new message whose answer is streamed: only a user's message is answered."""

    role = serializers.ChoiceField(choices=[str(Message.Role.USER)], default=str(Message.Role.USER))


class StartedConversation(TextOrFiles, GenerationSerializer):
    when_busy = None  # type: ignore[assignment]  # removes the field: a new conversation is never busy
    title = Text(
        required=False, allow_blank=True, allow_null=True, default="", limit="LIMIT_TITLE_CHARS", max_length=200
    )
    content = Text(limit="LIMIT_MESSAGE_CHARS", allow_blank=True)
    file_ids = FileIds()
    metadata = Object(required=False)
    generation = GenerationField()
