"""`/users`: accounts and their conversations."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.guests import is_shared_guest, shares_local_space
from accounts.models import User
from accounts.scopes import Scope
from accounts.usernames import NOT_AVAILABLE
from accounts.viewsets import AccountViewSet, NameTaken
from chatservice.dialects.problems import BadRequest
from chatservice.dialects.resources import serializers
from chatservice.dialects.resources.base import ResourceMixin, refuse_strangers, valid
from chatservice.dialects.resources.documentation import (
    NAME,
    PK,
    READ,
    answer_example,
    errors,
    request_example,
)
from chatservice.dialects.resources.pagination import PlainPages
from conversations.models import Conversation

PRINTED = {"username": "alice", "password": "correct horse battery"}


class UsersView(ResourceMixin, AccountViewSet):
    scopes = {"GET": Scope.READ, **dict.fromkeys(("POST", "PUT", "PATCH", "DELETE"), Scope.ACCOUNT)}
    queryset = User.objects.none()
    serializer_class = serializers.UserShape
    pagination_class = PlainPages

    @extend_schema(
        operation_id="list_users",
        summary="The accounts that the caller may use",
        description="With a key, your own account; for guests, the accounts that guests created.",
        responses={200: serializers.UserShape(many=True), **errors((*READ, 403))},
    )
    def list(self, request: Request) -> Response:
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(serializers.UserShape(page, many=True).data)

    @extend_schema(
        operation_id="create_user",
        summary="Create an account",
        description=(
            "The setting REGISTRATION says who may create accounts: `local`, guests on this machine; `keys`, "
            "anybody with a key; `off`, nobody. The new account shares the limits of the caller and is deactivated "
            "with it. The password is stored as an argon2 hash, and masked in the response."
        ),
        request=serializers.NewUser,
        responses={201: serializers.CreatedUser, **errors((400, 401, 403, 409, 413, 415, 429))},
        examples=[
            request_example(PRINTED),
            answer_example({"id": PK, "username": "alice", "password": serializers.MASK}, 201),
        ],
    )
    def create(self, request: Request) -> Response:
        sent = valid(serializers.NewUser, request.data)
        try:
            user = self.register(**sent)
        except NameTaken as error:
            raise name_taken() from error
        return Response(serializers.CreatedUser(user).data, status=201)

    @extend_schema(
        operation_id="get_user",
        summary="One account, by username or id",
        parameters=[NAME],
        responses={200: serializers.UserShape, **errors(READ)},
    )
    def retrieve(self, request: Request, name: str) -> Response:
        return Response(serializers.UserShape(self.get_object()).data)

    @extend_schema(
        operation_id="replace_user",
        summary="Change username and password",
        parameters=[NAME],
        request=serializers.UserReplacement,
        responses={200: serializers.UserShape, **errors((400, 401, 403, 404, 409, 413, 415, 429))},
        examples=[request_example(PRINTED)],
    )
    def update(self, request: Request, name: str) -> Response:
        return self._change(valid(serializers.UserReplacement, request.data))

    @extend_schema(
        operation_id="update_user",
        summary="Change username or password",
        parameters=[NAME],
        request=serializers.UserChange,
        responses={200: serializers.UserShape, **errors((400, 401, 403, 404, 409, 413, 415, 429))},
        examples=[request_example({"username": "alice.b"})],
    )
    def partial_update(self, request: Request, name: str) -> Response:
        return self._change(valid(serializers.UserChange, request.data))

    @extend_schema(
        operation_id="delete_user",
        summary="Delete an account and everything in it",
        description="This cannot be undone: the body confirms it with the account's username or password.",
        parameters=[NAME],
        request=serializers.Confirmation,
        responses={204: None, **errors((400, 401, 403, 404, 413, 415, 429))},
        examples=[request_example({"username": "alice"})],
    )
    def destroy(self, request: Request, name: str) -> Response:
        user = self.get_deletable()
        sent = valid(serializers.Confirmation, request.data)
        self.erase(user, username=sent.get("username"), password=sent.get("password"))
        return Response(status=204)

    def _change(self, sent: dict[str, Any]) -> Response:
        try:
            user = self.change(
                self.get_object(),
                username=sent.get("username"),
                password=sent.get("password"),
                current_password=sent.get("current_password", ""),
            )
        except NameTaken as error:
            raise name_taken() from error
        return Response(serializers.UserShape(user).data)


class UserConversationsView(ResourceMixin, AccountViewSet):
    scopes = {"GET": Scope.READ}
    queryset = Conversation.objects.none()
    serializer_class = serializers.UserConversation
    pagination_class = PlainPages

    @extend_schema(
        operation_id="list_user_conversations",
        summary="The conversations of an account, newest first",
        description="Also accepts the label that was given as `user_id` when the conversations were created.",
        parameters=[NAME],
        responses={200: serializers.UserConversation(many=True), **errors((*READ, 403))},
        examples=[answer_example({"conversation_id": PK, "title": "Jokes", "user_id": PK})],
    )
    def list(self, request: Request, name: str) -> Response:
        page = self.paginate_queryset(self._conversations(name).newest_first())
        return self.get_paginated_response(serializers.UserConversation(page, many=True).data)

    def _conversations(self, name: str) -> Any:
        try:
            user = self.get_object()
        except Http404:
            labelled = self._labelled(name)
            if not labelled.exists():
                raise
            return labelled
        if self.principal.is_guest and is_shared_guest(user):
            refuse_strangers(self.principal)
        return Conversation.objects.filter(owner=user)

    def _labelled(self, name: str) -> QuerySet[Conversation]:
        if not shares_local_space(self.principal) or not name.strip("\x00 "):
            return Conversation.objects.none()
        return Conversation.objects.visible_to(self.principal).filter(end_user=name.replace("\x00", ""))


def name_taken() -> BadRequest:
    return BadRequest(
        NOT_AVAILABLE, code="username_taken", status=409, param="username", details={"username": [NOT_AVAILABLE]}
    )
