"""`/shared-links`: list, create and revoke the caller's links to conversations."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers

from accounts.callers import Principal
from accounts.scopes import Scope
from chatservice.dialects.base import json_response
from chatservice.dialects.chat_v1 import documentation as docs
from chatservice.dialects.chat_v1.envelope import envelope
from chatservice.dialects.chat_v1.fields import Identifier, Integer, Text
from chatservice.dialects.chat_v1.pagination import PageRequest, page_schema
from chatservice.dialects.chat_v1.request_parsing import identifier, validated
from chatservice.dialects.chat_v1.views import ChatView
from foundation.database import in_database_thread
from sharing.models import SharedLink
from sharing.services import DEFAULT_DAYS, links_of, revoke_link, share_conversation


class SharedLinkSerializer(serializers.ModelSerializer[SharedLink]):
    """A link to a conversation up to a message: `url` is what to give to others."""

    url = serializers.SerializerMethodField(help_text="where anybody reads it, until it expires or is revoked")
    conversation_id = serializers.UUIDField()
    message_id = serializers.UUIDField(help_text="the last message that it shows")
    title = serializers.CharField(help_text="the title that it shows")

    class Meta:
        model = SharedLink
        fields = ("id", "url", "title", "conversation_id", "message_id", "created_at", "expires_at")
        read_only_fields = fields

    def get_url(self, link: SharedLink) -> str:
        address: str = self.context["request"].build_absolute_uri(reverse("shared", args=[link.token]))
        return address


class SharedLinkRequest(serializers.Serializer[Any]):
    message_id = Identifier(help_text="the last message that others will see, with those before it")
    expires_in_days = Integer(
        required=False,
        allow_null=True,
        default=None,
        min_value=1,
        help_text=f"at most SHARE_MAX_DAYS; by default {DEFAULT_DAYS}, or SHARE_MAX_DAYS if that is less",
    )
    title = Text(
        required=False,
        allow_blank=True,
        allow_null=True,
        default=None,
        max_length=200,
        help_text="what it is called there; by default the title of the conversation",
    )

    def validate_expires_in_days(self, days: int | None) -> int | None:
        if days is not None and days > settings.SHARE_MAX_DAYS:
            raise serializers.ValidationError(f"At most {settings.SHARE_MAX_DAYS} (SHARE_MAX_DAYS).")
        return days


CONVERSATION = OpenApiParameter("conversation_id", uuid.UUID, description="only the links to this conversation")


class SharedLinksView(ChatView):
    scopes = {"GET": Scope.READ, "POST": Scope.WRITE}

    @extend_schema(
        operation_id="list_shared_links",
        summary="The caller's links that have not expired, newest first",
        parameters=[CONVERSATION, *docs.PAGE],
        responses={
            200: page_schema({"type": "array", "items": {"$ref": "#/components/schemas/SharedLink"}}),
            **docs.errors(400, 401, 429),
        },
    )
    async def get(self, request: HttpRequest, principal: Principal) -> HttpResponse:
        asked = PageRequest.read(request.GET, default_limit=20)
        rows, total = await in_database_thread(_page, request.GET.get("conversation_id"), principal, asked)
        return json_response(envelope([_shown(row, request) for row in rows], meta=asked.meta(total)))

    @extend_schema(
        operation_id="create_shared_link",
        summary="Make a link by which anybody reads a conversation up to a message",
        description="It shows questions and answers, with small copies of pictures: no instructions, no reasoning, no "
        "calls of tools, no other files, and nobody's name. Later messages are not shown, and deleted ones no longer. "
        "`403` with `sharing_refused` while the setting SHARING is off.",
        request=SharedLinkRequest,
        responses={
            201: docs.enveloped("SharedLinkEnvelope", SharedLinkSerializer()),
            **docs.errors(400, 401, 403, 404, 409, 413, 415, 422, 429),
        },
        examples=[docs.example("A week", {"message_id": "01890a5d-ac96-774b-bcce-b302099a8057", "expires_in_days": 7})],
    )
    async def post(self, request: HttpRequest, principal: Principal) -> HttpResponse:
        link = await in_database_thread(_share, principal, validated(request, SharedLinkRequest))
        shown = _shown(link, request)
        return json_response(envelope(shown, message="Link created: anybody who has it can read this."), 201)


class SharedLinkView(ChatView):
    scopes = {"DELETE": Scope.WRITE}

    @extend_schema(
        operation_id="revoke_shared_link",
        summary="Revoke one of the caller's links immediately",
        responses={200: docs.DELETED, **docs.errors(401, 404, 429)},
    )
    async def delete(self, request: HttpRequest, principal: Principal, link_id: str) -> HttpResponse:
        pk = identifier(link_id)
        await in_database_thread(lambda: revoke_link(principal=principal, link_id=pk))
        return json_response(envelope(None, message="Link revoked"))


def _shown(link: SharedLink, request: HttpRequest) -> dict[str, Any]:
    """Return a link as this API shows it. Not in another thread, which does not know of URL_PREFIX."""
    return dict(SharedLinkSerializer(link, context={"request": request}).data)


def _page(conversation_id: str | None, principal: Principal, asked: PageRequest) -> tuple[list[SharedLink], int]:
    links = links_of(principal, conversation_id)
    total = links.count()
    return list(links.order_by("-pk")[asked.cut(total)]), total


def _share(principal: Principal, given: dict[str, Any]) -> SharedLink:
    return share_conversation(
        principal=principal, message_id=given["message_id"], days=given["expires_in_days"], title=given["title"]
    )
