"""`/search`: a plain list of messages; headers give the search mode used and the cursor of the next page."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from django.http import HttpRequest, HttpResponse
from drf_spectacular.utils import OpenApiParameter, extend_schema

from accounts.callers import Principal
from accounts.scopes import Scope
from chatservice.dialects.base import json_response
from chatservice.dialects.resources import serializers
from chatservice.dialects.resources.base import ResourceView, refuse_strangers
from chatservice.dialects.resources.documentation import PK, answer_example, errors
from chatservice.dialects.searching import MODES, PARAMETERS, SearchRequest, excerpt, read_search, why_found
from conversations.models import Message
from search.results import Hit, Hits
from search.threads import in_search_thread

EXAMPLE = {
    "conversation_id": PK,
    "title": "Whales",
    "message": {"id": 1, "role": "user", "content": "Where do whales sleep?"},
    "created_at": "2026-01-31T12:00:00Z",
    "branch": "shown",
    "snippet": "Where do whales sleep?",
    "highlights": [[9, 15]],
    "before": None,
    "after": {"id": 2, "role": "assistant", "excerpt": "Near the surface, half awake."},
    "score": 0.93,
    "text_score": 0.9,
    "semantic_score": 0.81,
    "matched": "both",
    "found": True,
    "others": None,
}


def _header(name: str, kind: Any, description: str, **options: Any) -> OpenApiParameter:
    return OpenApiParameter(
        name, kind, OpenApiParameter.HEADER, response=[200], description=description, required=True, **options
    )


HEADERS = [
    _header("X-Search-Asked", str, "the mode requested", enum=MODES),
    _header("X-Search-Mode", str, "the mode used", enum=MODES),
    _header(
        "X-Search-Why", str, "why another mode was used than requested, or the hits were not reranked; empty otherwise"
    ),
    _header(
        "X-Search-Excluded",
        str,
        "the words and phrases that no hit contains, as `-word` asked: percent-encoded, with commas between them",
    ),
    _header("X-Next-Cursor", str, "the `cursor` of the next page; empty on the last one. `Link` has its URL"),
    _header("X-Took-Ms", float, "how long the search took"),
]


class SearchView(ResourceView):
    scopes = {"GET": Scope.SEARCH}
    http_method_names = ["get", "options"]

    @extend_schema(
        operation_id="search",
        summary="Search messages by words and by meaning",
        description="Searching a conversation of somebody else finds nothing.",
        parameters=[*PARAMETERS, *HEADERS],
        responses={200: serializers.Hit(many=True), **errors((400, 401, 403, 429))},
        examples=[answer_example(EXAMPLE)],
    )
    async def get(self, request: HttpRequest, principal: Principal) -> HttpResponse:
        refuse_strangers(principal)
        search_request = read_search(request.GET, request.GET.getlist("role"))
        hits, rows = await in_search_thread(_page, principal, search_request)
        response = json_response(rows)
        response.headers["X-Search-Asked"] = str(hits.asked)
        response.headers["X-Search-Mode"] = str(hits.mode)
        response.headers["X-Search-Why"] = hits.why
        response.headers["X-Search-Excluded"] = ",".join(quote(words, safe="") for words in hits.excluded)
        response.headers["X-Next-Cursor"] = hits.next_cursor
        response.headers["X-Took-Ms"] = f"{hits.took_ms:.2f}"
        if hits.next_cursor:
            query = request.GET.copy()
            query["cursor"] = hits.next_cursor
            response.headers["Link"] = f'<{request.path}?{query.urlencode()}>; rel="next"'
        return response


def _page(principal: Principal, search_request: SearchRequest) -> tuple[Hits, list[dict[str, Any]]]:
    hits = search_request.find(principal)
    shapes = serializers.shapes_of([hit.message for hit in hits.hits])
    return hits, [_hit(hit, shape) for hit, shape in zip(hits.hits, shapes, strict=True)]


def _hit(hit: Hit, shape: dict[str, Any]) -> dict[str, Any]:
    message = hit.message
    return {
        "conversation_id": str(message.conversation_id),
        "title": message.conversation.title,
        "message": shape,
        "created_at": message.created_at,
        "before": _neighbour(hit.before),
        "after": _neighbour(hit.after),
        **why_found(hit),
    }


def _neighbour(message: Message | None) -> dict[str, Any] | None:
    if message is None:
        return None
    return {"id": message.position, "role": message.role, "excerpt": excerpt(message)}
