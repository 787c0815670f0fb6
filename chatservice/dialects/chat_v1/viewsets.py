"""Stored conversations and messages, and the access log: list, read, change, delete."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from accounts.scopes import Scope
from chatservice.dialects.chat_v1 import documentation as docs
from chatservice.dialects.chat_v1.envelope import EnvelopeMixin
from chatservice.dialects.chat_v1.pagination import PagePagination
from chatservice.dialects.chat_v1.responses import represent
from chatservice.dialects.chat_v1.serializers import (
    AccessLogEntrySerializer,
    ConversationDetailSerializer,
    ConversationSerializer,
    MessageSerializer,
    NewConversation,
)
from chatservice.dialects.problems import BadRequest
from conversations.models import ConversationQuerySet
from conversations.tags import read_tag, tag_key
from conversations.viewsets import OwnedAccessLogViewSet, OwnedConversationViewSet, OwnedMessageViewSet, caller


@extend_schema_view(
    list=extend_schema(
        operation_id="list_conversations",
        summary="The caller's conversations, most recently used first",
        parameters=[docs.ARCHIVED, docs.PINNED, docs.TAG],
        responses={200: ConversationSerializer(many=True), **docs.errors(400, 401, 429)},
    ),
    create=extend_schema(
        operation_id="create_conversation",
        summary="Create a conversation",
        request=NewConversation,
        responses={201: docs.CONVERSATION, **docs.errors(400, 401, 413, 415, 422, 429)},
        examples=[docs.example("My New Chat", {"title": "My New Chat"})],
    ),
    retrieve=extend_schema(
        operation_id="get_conversation",
        summary="One conversation",
        responses={200: docs.CONVERSATION_DETAIL, **docs.errors(401, 404, 429)},
    ),
    partial_update=extend_schema(
        operation_id="update_conversation",
        summary="Change title, archived, pinned, metadata, recall, generation or tags",
        request=ConversationDetailSerializer,
        responses={200: docs.CONVERSATION_DETAIL, **docs.errors(400, 401, 404, 413, 415, 429)},
        examples=[docs.example("Rename", {"title": "A better title"})],
    ),
    destroy=extend_schema(
        operation_id="delete_conversation",
        summary="Delete a conversation and all its messages",
        responses={200: docs.DELETED, **docs.errors(401, 404, 429)},
    ),
)
class ConversationViewSet(EnvelopeMixin, OwnedConversationViewSet):
    scopes = {"GET": Scope.READ, "POST": Scope.WRITE, "PATCH": Scope.WRITE, "DELETE": Scope.WRITE}
    pagination_class = PagePagination
    messages = {
        "create": "Conversation created successfully",
        "partial_update": "Conversation updated successfully",
        "destroy": "Conversation deleted successfully",
    }

    def get_serializer_class(self) -> type[BaseSerializer[Any]]:
        if self.action == "create":
            return NewConversation
        return ConversationSerializer if self.action == "list" else ConversationDetailSerializer

    def get_queryset(self) -> ConversationQuerySet:
        """List only conversations that are not archived, unless the query asks for `?archived=true` or `all`."""
        conversations = super().get_queryset()
        if self.action != "list" or getattr(self, "swagger_fake_view", False):
            return conversations
        for name, default in (("archived", "false"), ("pinned", "all")):
            match self.request.query_params.get(name, default):
                case "false":
                    conversations = conversations.filter(**{f"{name}_at": None})
                case "true":
                    conversations = conversations.filter(**{f"{name}_at__isnull": False})
                case "all":
                    pass
                case _:
                    wanted = "'true', 'false' or 'all'."
                    raise BadRequest(f"{name}: {wanted}", code="validation_error", details={name: [wanted]})
        if (tag := self.request.query_params.get("tag")) is not None:
            try:
                conversations = conversations.tagged(tag_key(read_tag(tag)), caller(self))
            except ValueError as error:
                wanted = str(error)
                raise BadRequest(f"tag: {wanted}", code="validation_error", details={"tag": [wanted]}) from error
        return conversations


@extend_schema_view(
    retrieve=extend_schema(
        operation_id="get_message",
        summary="One message",
        responses={200: docs.MESSAGE, **docs.errors(401, 404, 429)},
    ),
    destroy=extend_schema(
        operation_id="delete_message",
        summary="Delete one message; the messages after it are kept",
        responses={200: docs.DELETED, **docs.errors(401, 404, 409, 429)},
    ),
)
class MessageViewSet(EnvelopeMixin, OwnedMessageViewSet):
    scopes = {"GET": Scope.READ, "DELETE": Scope.WRITE}
    serializer_class = MessageSerializer
    messages = {"destroy": "Message deleted successfully"}

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return Response(represent([self.get_object()], reader=caller(self))[0])


@extend_schema_view(
    list=extend_schema(
        operation_id="list_access_log",
        summary="When staff read the caller's content, and why; newest first",
        responses={200: AccessLogEntrySerializer(many=True), **docs.errors(400, 401, 429)},
    ),
)
class AccessLogViewSet(EnvelopeMixin, OwnedAccessLogViewSet):
    scopes = {"GET": Scope.READ}
    pagination_class = PagePagination
    serializer_class = AccessLogEntrySerializer
