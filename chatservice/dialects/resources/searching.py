"""`/search`: what was said where. Finds by text until the search engine is there, and says so."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from chatservice.dialects.resources import serializers
from chatservice.dialects.resources.base import ResourceMixin, refuse_strangers, valid
from chatservice.dialects.resources.documentation import READ, errors
from chatservice.dialects.resources.pagination import PlainPages
from conversations.models import Message
from search.queries import MODE, messages_saying, snippet

SOUGHT = {"type": "string", "minLength": 1, "maxLength": 1000, "pattern": r"\S"}


class SearchView(ResourceMixin, GenericAPIView):
    queryset = Message.objects.none()
    serializer_class = serializers.Hit
    pagination_class = PlainPages

    @extend_schema(
        operation_id="search",
        summary="Find messages, newest first",
        description="`X-Search-Mode` says what found them: `text` is the words as they stand, in any case.",
        parameters=[OpenApiParameter("q", SOUGHT, required=True, description="what to look for")],
        responses={200: serializers.Hit(many=True), **errors((*READ, 403))},
    )
    def get(self, request: Request) -> Response:
        refuse_strangers(self.principal)
        sought = valid(serializers.SearchQuery, request.query_params)["q"]
        found = messages_saying(self.principal, sought).order_by("-created_at", "-id")
        page = self.paginate_queryset(found)
        response = self.get_paginated_response([_hit(message, sought) for message in page])
        response.headers["X-Search-Mode"] = MODE
        return response


def _hit(message: Message, sought: str) -> dict[str, Any]:
    return {
        "conversation_id": str(message.conversation_id),
        "message_id": message.position,
        "role": message.role,
        "content": message.content,
        "snippet": snippet(message.content, sought),
        "created_at": message.created_at,
        "score": 1.0,
        "match": MODE,
    }
