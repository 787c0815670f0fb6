"""`/conversations/{id}/messages`: a conversation's messages, by number."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.scopes import Scope
from chatservice.dialects.attached_files import parts_of
from chatservice.dialects.problems import BadRequest
from chatservice.dialects.resources import serializers
from chatservice.dialects.resources.base import ResourceMixin, valid
from chatservice.dialects.resources.documentation import (
    CONVERSATION_ID,
    NUMBER,
    READ,
    answer_example,
    errors,
    request_example,
)
from chatservice.dialects.resources.pagination import WholeOrPages
from conversations import services
from conversations.file_parts import extras_with
from conversations.lookup import conversation_of, message_at, messages_in
from conversations.models import Conversation, Message
from conversations.viewsets import OwnedMessageViewSet

PRINTED = {"role": "user", "content": "Tell me a joke"}
EDITED = (
    "Creates a new message with a new number on a branch of its own, which is shown from now on. It keeps the files of "
    "the message unless `file_ids` names others, or none."
)


class MessagesView(ResourceMixin, OwnedMessageViewSet):
    scopes = {"GET": Scope.READ, "POST": Scope.WRITE, "PUT": Scope.WRITE, "PATCH": Scope.WRITE, "DELETE": Scope.WRITE}
    serializer_class = serializers.MessageShape
    pagination_class = WholeOrPages

    def conversation(self) -> Conversation:
        return conversation_of(self.principal, self.kwargs["conversation_id"])

    def get_object(self) -> Message:
        return message_at(self.conversation(), self.kwargs["number"])

    def shape(self, message: Message) -> Any:
        return serializers.shapes_of([message])[0]

    @extend_schema(
        operation_id="list_messages",
        summary="The messages of a conversation, oldest first",
        description="Messages of the shown branch; an answer is listed once it has text or is complete.",
        parameters=[CONVERSATION_ID],
        responses={200: serializers.MessageShape(many=True), **errors(READ)},
        examples=[answer_example({"id": 1, **PRINTED})],
    )
    def list(self, request: Request, conversation_id: str) -> Response:
        page = self.paginate_queryset(messages_in(self.conversation())) or []
        return self.get_paginated_response(serializers.shapes_of(page))

    @extend_schema(
        operation_id="create_message",
        summary="Append a message without generating an answer",
        parameters=[CONVERSATION_ID],
        request=serializers.NewMessage,
        responses={201: serializers.MessageShape, **errors((*READ, 413, 415, 422))},
        examples=[request_example(PRINTED), answer_example({"id": 1, **PRINTED}, 201)],
    )
    def create(self, request: Request, conversation_id: str) -> Response:
        conversation = self.conversation()
        sent = valid(serializers.NewMessage, request.data)
        role, content = sent["role"], sent["content"]
        parts = parts_of(self.principal, sent.get("file_ids") or (), role=role)
        message = services.append_message(
            conversation=conversation, role=role, content=content, extras=extras_with(content, parts)
        )
        return Response(self.shape(message), status=201)

    @extend_schema(
        operation_id="get_message",
        summary="One message, on any branch",
        parameters=[CONVERSATION_ID, NUMBER],
        responses={200: serializers.MessageShape, **errors(READ)},
    )
    def retrieve(self, request: Request, conversation_id: str, number: str) -> Response:
        return Response(self.shape(self.get_object()))

    @extend_schema(
        operation_id="replace_message",
        summary="Edit a message",
        description=EDITED,
        parameters=[CONVERSATION_ID, NUMBER],
        request=serializers.MessageChange,
        responses={200: serializers.MessageShape, **errors((*READ, 409, 413, 415, 422))},
        examples=[request_example(PRINTED)],
    )
    def update(self, request: Request, conversation_id: str, number: str) -> Response:
        message = self.get_object()
        sent = valid(serializers.MessageChange, request.data)
        if sent.get("role", message.role) != message.role:
            wanted = "The role of a message cannot be changed."
            raise BadRequest(wanted, code="validation_error", param="role", details={"role": [wanted]})
        if message.status == Message.Status.IN_PROGRESS:
            raise services.Busy("This message is still being written; stop it first.")
        file_ids = sent.get("file_ids")
        attached = parts_of(self.principal, file_ids, role=message.role) if file_ids is not None else None
        edited = services.edit_message(message=message, content=sent["content"], attached=attached)
        return Response(self.shape(edited))

    @extend_schema(
        operation_id="update_message",
        summary="Edit a message",
        description=EDITED,
        parameters=[CONVERSATION_ID, NUMBER],
        request=serializers.MessageChange,
        responses={200: serializers.MessageShape, **errors((*READ, 409, 413, 415, 422))},
        examples=[request_example({"content": "Tell me a better joke"})],
    )
    def partial_update(self, request: Request, conversation_id: str, number: str) -> Response:
        return self.update(request, conversation_id, number)

    @extend_schema(
        operation_id="delete_message",
        summary="Delete one message",
        description="The messages after it are kept.",
        parameters=[CONVERSATION_ID, NUMBER],
        responses={204: None, **errors((401, 404, 409, 429))},
    )
    def destroy(self, request: Request, conversation_id: str, number: str) -> Response:
        self.perform_destroy(self.get_object())
        return Response(status=204)
