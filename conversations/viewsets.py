"""Bases of every dialect's CRUD, independent of the wire: whose rows are visible, and which service writes them.

A dialect adds serializer, pagination, error shape, and the routes to the actions that its API has. Nothing specific to
an API belongs here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_framework.serializers import BaseSerializer
from rest_framework.viewsets import GenericViewSet, ModelViewSet, ReadOnlyModelViewSet

from conversations import services
from conversations.default_generation import default_generation
from conversations.models import (
    AccessLogEntry,
    AccessLogEntryQuerySet,
    Conversation,
    ConversationQuerySet,
    Message,
    MessageQuerySet,
)

if TYPE_CHECKING:
    from accounts.callers import Principal


def caller(view: GenericViewSet[Any]) -> Principal:
    return view.request.user  # type: ignore[return-value]  # see PrincipalAuthentication


class OwnedConversationViewSet(ModelViewSet[Conversation]):
    """The caller's conversations, newest first; other people's are not found."""

    queryset = Conversation.objects.none()  # for the OpenAPI schema, which is generated without a caller

    def get_queryset(self) -> ConversationQuerySet:
        if getattr(self, "swagger_fake_view", False):
            return Conversation.objects.none()
        return Conversation.objects.visible_to(caller(self)).newest_first()

    def perform_create(self, serializer: BaseSerializer[Conversation]) -> None:
        """Create from validated fields; without a generation among them, with the caller's default."""
        owner_id = caller(self).user_id
        given: dict[str, Any] = dict(serializer.validated_data)
        if "generation" not in given:
            given["generation"] = default_generation(owner_id)
        serializer.instance = services.start_conversation(owner_id=owner_id, **given)

    def perform_update(self, serializer: BaseSerializer[Conversation]) -> None:
        """Change validated title, end_user, metadata, archived_at, pinned_at, recall, generation or tags."""
        serializer.instance = services.update_conversation(
            conversation=serializer.instance,  # type: ignore[arg-type]  # an update has one
            **serializer.validated_data,
        )

    def perform_destroy(self, instance: Conversation) -> None:
        services.delete_conversation(conversation=instance)


class OwnedMessageViewSet(ModelViewSet[Message]):
    """The messages of the caller's conversations; other people's are not found."""

    queryset = Message.objects.none()

    def get_queryset(self) -> MessageQuerySet:
        if getattr(self, "swagger_fake_view", False):
            return Message.objects.none()
        return Message.objects.visible_to(caller(self)).oldest_first()

    def perform_destroy(self, instance: Message) -> None:
        """Delete one message; raises services.Busy while it is being written."""
        services.delete_message(message=instance)


class OwnedAccessLogViewSet(ReadOnlyModelViewSet[AccessLogEntry]):
    """The access log entries about the caller's content, newest first; read-only."""

    queryset = AccessLogEntry.objects.none()

    def get_queryset(self) -> AccessLogEntryQuerySet:
        if getattr(self, "swagger_fake_view", False):
            return AccessLogEntry.objects.none()
        return AccessLogEntry.objects.visible_to(caller(self)).with_conversation().newest_first()
