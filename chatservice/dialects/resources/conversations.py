"""`/conversations`: list, create, read, change and delete conversations."""

from __future__ import annotations

from typing import Any

from asgiref.sync import async_to_sync
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.guests import account_named, owner_for
from accounts.scopes import Scope
from chatservice.dialects.attached_files import attached_files
from chatservice.dialects.problems import BadRequest
from chatservice.dialects.resources import serializers
from chatservice.dialects.resources.base import ResourceMixin, refuse_strangers, valid
from chatservice.dialects.resources.documentation import (
    CONVERSATION_ID,
    PK,
    READ,
    answer_example,
    errors,
    request_example,
)
from chatservice.dialects.resources.pagination import PlainPages
from completions.models import Run
from completions.stopping import stop_and
from conversations import services
from conversations.default_generation import default_generation
from conversations.lookup import conversation_of, messages_in
from conversations.models import Conversation
from conversations.viewsets import OwnedConversationViewSet

CREATED = {"id": PK, "title": "Jokes", "user_id": PK}


class ConversationsView(ResourceMixin, OwnedConversationViewSet):
    scopes = {"GET": Scope.READ, "POST": Scope.WRITE, "PUT": Scope.WRITE, "PATCH": Scope.WRITE, "DELETE": Scope.WRITE}
    serializer_class = serializers.ConversationShape
    pagination_class = PlainPages

    def get_object(self) -> Conversation:
        return conversation_of(self.principal, self.kwargs["conversation_id"])

    @extend_schema(
        operation_id="list_conversations",
        summary="The caller's conversations, newest first",
        responses={200: serializers.ConversationShape(many=True), **errors((*READ, 403))},
    )
    def list(self, request: Request) -> Response:
        refuse_strangers(self.principal)
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(serializers.ConversationShape(page, many=True).data)

    @extend_schema(
        operation_id="create_conversation",
        summary="Create a conversation",
        request=serializers.NewConversation,
        responses={201: serializers.CreatedConversation, **errors((400, 401, 413, 415, 422, 429))},
        examples=[request_example({"title": "Jokes", "user_id": PK}), answer_example(CREATED, 201)],
    )
    def create(self, request: Request) -> Response:
        sent = valid(serializers.NewConversation, request.data)
        owner = owner_for(self.principal, sent["user_id"])
        conversation = services.start_conversation(
            owner_id=owner.user_id,
            title=sent["title"],
            end_user=owner.end_user,
            generation=default_generation(owner.user_id),
        )
        return Response(serializers.CreatedConversation(conversation).data, status=201)

    @extend_schema(
        operation_id="get_conversation",
        summary="A conversation and its history",
        parameters=[CONVERSATION_ID],
        responses={200: serializers.ConversationHistory, **errors(READ)},
    )
    def retrieve(self, request: Request, conversation_id: str) -> Response:
        conversation = self.get_object()
        shape, messages = serializers.ConversationShape(conversation).data, messages_in(conversation)
        context = {"files": attached_files(messages)}
        return Response({**shape, "messages": serializers.HistoryMessage(messages, many=True, context=context).data})

    @extend_schema(
        operation_id="replace_conversation",
        summary="Change the title",
        parameters=[CONVERSATION_ID],
        request=serializers.ConversationReplacement,
        responses={200: serializers.ConversationShape, **errors((*READ, 413, 415))},
        examples=[request_example({"title": "Better jokes"})],
    )
    def update(self, request: Request, conversation_id: str) -> Response:
        return self._change(valid(serializers.ConversationReplacement, request.data))

    @extend_schema(
        operation_id="update_conversation",
        summary="Change the title",
        parameters=[CONVERSATION_ID],
        request=serializers.ConversationChange,
        responses={200: serializers.ConversationShape, **errors((*READ, 413, 415))},
        examples=[request_example({"title": "Better jokes"})],
    )
    def partial_update(self, request: Request, conversation_id: str) -> Response:
        return self._change(valid(serializers.ConversationChange, request.data))

    @extend_schema(
        operation_id="delete_conversation",
        summary="Delete a conversation and everything in it",
        description="An answer that is being written is stopped first.",
        parameters=[CONVERSATION_ID],
        responses={204: None, **errors((401, 404, 429))},
    )
    def destroy(self, request: Request, conversation_id: str) -> Response:
        conversation = self.get_object()
        runs = Run.objects.filter(conversation=conversation)
        async_to_sync(stop_and)(runs, lambda: self.perform_destroy(conversation))
        return Response(status=204)

    def _change(self, sent: dict[str, Any]) -> Response:
        conversation = self.get_object()
        user_id = sent.get("user_id")
        if user_id is not None and not self._is_owner(conversation, user_id):
            wanted = "A conversation cannot be moved to another account."
            raise BadRequest(wanted, code="validation_error", param="user_id", details={"user_id": [wanted]})
        if "title" in sent:
            services.update_conversation(conversation=conversation, title=sent["title"])
        return Response(serializers.ConversationShape(conversation).data)

    def _is_owner(self, conversation: Conversation, user_id: str) -> bool:
        if user_id in (str(conversation.owner_id), conversation.end_user):
            return True
        account = account_named(self.principal, user_id)
        return account is not None and account.pk == conversation.owner_id
