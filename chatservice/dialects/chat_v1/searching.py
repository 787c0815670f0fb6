"""`/v1/chat/search`: search in the caller's messages."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema, inline_serializer
from rest_framework import serializers

from accounts.callers import Principal
from accounts.scopes import Scope
from chatservice.dialects.base import json_response
from chatservice.dialects.chat_v1 import documentation as docs
from chatservice.dialects.chat_v1.envelope import envelope
from chatservice.dialects.chat_v1.responses import represent
from chatservice.dialects.chat_v1.serializers import MessageSerializer
from chatservice.dialects.chat_v1.views import ChatView
from chatservice.dialects.searching import PARAMETERS, SearchRequest, WhyFound, excerpt, read_search, why_found
from conversations.models import Message
from search.results import Hit
from search.threads import in_search_thread


class FoundIn(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    title = serializers.CharField(allow_blank=True)


class Neighbour(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    role = serializers.CharField()
    excerpt = serializers.CharField(allow_blank=True, help_text="its text, cut at 200 characters")


class SearchHit(WhyFound):
    """A message that matched, its place in the conversation, and why it matched."""

    message = MessageSerializer()
    conversation = FoundIn()
    before = Neighbour(allow_null=True)
    after = Neighbour(allow_null=True)


class SearchMeta(serializers.Serializer[Any]):
    asked = serializers.CharField(help_text="hybrid, semantic or text")
    mode = serializers.CharField(help_text="the mode that was used")
    why = serializers.CharField(
        allow_null=True, help_text="why another mode was used than requested, or the hits were not reranked"
    )
    excluded = serializers.ListField(
        child=serializers.CharField(), help_text="the words and phrases that no hit contains, as `-word` asked"
    )
    limit = serializers.IntegerField()
    next_cursor = serializers.CharField(allow_null=True)
    took_ms = serializers.FloatField()


RESULT = inline_serializer(
    "SearchResult", {"success": serializers.BooleanField(), "data": SearchHit(many=True), "meta": SearchMeta()}
)
PK = "01890a5d-ac96-774b-bcce-b302099a8056"
EXAMPLE = {
    "success": True,
    "data": [
        {
            "message": {
                "id": PK,
                "conversation_id": PK,
                "parent_id": None,
                "role": "user",
                "content": "Where do whales sleep?",
                "files": [],
                "model": None,
                "status": "complete",
                "finish_reason": None,
                "usage": None,
                "created_at": "2026-01-31T12:00:00Z",
            },
            "conversation": {"id": PK, "title": "Whales"},
            "branch": "shown",
            "snippet": "Where do whales sleep?",
            "highlights": [[9, 15]],
            "before": None,
            "after": {"id": PK, "role": "assistant", "excerpt": "Near the surface, half awake."},
            "score": 0.93,
            "text_score": 0.9,
            "semantic_score": 0.81,
            "matched": "both",
            "found": True,
            "others": None,
        }
    ],
    "meta": {
        "asked": "hybrid",
        "mode": "hybrid",
        "why": None,
        "excluded": [],
        "limit": 20,
        "next_cursor": None,
        "took_ms": 9.1,
    },
}


class SearchView(ChatView):
    scopes = {"GET": Scope.SEARCH}

    @extend_schema(
        operation_id="search_messages",
        summary="Search messages by words and by meaning",
        description="`meta.mode` is the mode that was used: `text` while the model for semantic search loads, and "
        "then `meta.why` says so. Searching a conversation of somebody else finds nothing.",
        parameters=PARAMETERS,
        responses={
            200: OpenApiResponse(RESULT, examples=[OpenApiExample("found", EXAMPLE, response_only=True)]),
            **docs.errors(400, 401, 403, 429),
        },
    )
    async def get(self, request: HttpRequest, principal: Principal) -> HttpResponse:
        search_request = read_search(request.GET, request.GET.getlist("role"))
        return json_response(await in_search_thread(_page, principal, search_request))


def _page(principal: Principal, search_request: SearchRequest) -> dict[str, Any]:
    hits = search_request.find(principal)
    meta = {
        "asked": str(hits.asked),
        "mode": str(hits.mode),
        "why": hits.why or None,
        "excluded": hits.excluded,
        "limit": search_request.limit,
        "next_cursor": hits.next_cursor or None,
        "took_ms": round(hits.took_ms, 2),
    }
    messages = represent([hit.message for hit in hits.hits])
    return envelope([_hit(hit, message) for hit, message in zip(hits.hits, messages, strict=True)], meta=meta)


def _hit(hit: Hit, message: dict[str, Any]) -> dict[str, Any]:
    conversation = hit.message.conversation
    return {
        "message": message,
        "conversation": {"id": str(conversation.pk), "title": conversation.title},
        "before": _neighbour(hit.before),
        "after": _neighbour(hit.after),
        **why_found(hit),
    }


def _neighbour(message: Message | None) -> dict[str, str] | None:
    if message is None:
        return None
    return {"id": str(message.pk), "role": message.role, "excerpt": excerpt(message)}
