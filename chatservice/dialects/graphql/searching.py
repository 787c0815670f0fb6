"""Search in the caller's messages: a connection in which each edge has a cursor to continue from."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import strawberry

from accounts.callers import Principal
from chatservice.dialects.graphql.pagination import Connection, Edge, PageInfo, page_size
from chatservice.dialects.graphql.types import Conversation, Message
from chatservice.dialects.searching import FOUND, OTHERS, SearchRequest, branch_of, read_search
from conversations import models as rows
from search.results import MAX_HITS, Hit, Hits, InvalidCursor
from search.threads import in_search_thread

# A cursor inside a page: how many hits of the page come before it, and the page's own cursor.
PAGE_CURSOR = re.compile(r"(\d{1,3})\.(.*)\Z", re.ASCII | re.DOTALL)


@strawberry.type(description="A message that was found, its context, and why it matched.")
class SearchHit:
    message: Message
    conversation: Conversation
    branch: str = strawberry.field(description="`shown`, or `other version` if it is not on the shown branch.")
    snippet: str
    highlights: list[list[int]] = strawberry.field(
        description="[start, end] of each match, in code points of `snippet`."
    )
    before: Message | None = strawberry.field(description="The message before it on its branch.")
    after: Message | None
    score: float = strawberry.field(description="0 to 1, comparable within one response.")
    text_score: float | None
    semantic_score: float | None
    matched: str = strawberry.field(description="`words`, `meaning` or `both`.")
    found: bool = strawberry.field(description=f"{FOUND}.")
    others: int | None = strawberry.field(description=f"{OTHERS}.")

    @classmethod
    def of(cls, hit: Hit) -> SearchHit:
        return cls(
            message=Message.of(hit.message),
            conversation=Conversation.of(hit.message.conversation),
            branch=branch_of(hit),
            snippet=hit.snippet,
            highlights=[list(pair) for pair in hit.highlights],
            before=_shown(hit.before),
            after=_shown(hit.after),
            score=hit.score,
            text_score=hit.text_score,
            semantic_score=hit.semantic_score,
            matched=hit.matched,
            found=hit.found,
            others=hit.others,
        )


@strawberry.type(name="SearchHitConnection")
class SearchHits(Connection[SearchHit]):
    asked: str
    mode: str = strawberry.field(description="The mode that was used: `hybrid`, `semantic` or `text`.")
    why: str | None = strawberry.field(
        description="Why another mode was used than requested, or the hits were not reranked."
    )
    excluded: list[str] = strawberry.field(
        description="The words and phrases that no hit contains, as `-word` in the query asked."
    )
    took_ms: float


async def search(
    principal: Principal, first: int | None, after: str | None, roles: list[str], **given: Any
) -> SearchHits:
    """Return a page of hits; raises BadRequest, InvalidCursor, SearchNotAllowed."""
    size = page_size(first)
    archived = given.pop("archived")
    named = {name: value for name, value in given.items() if value is not None}
    if archived is not None:
        named["archived"] = "true" if archived else "false"
    # Even `first: 0` has to tell whether there is a hit.
    search_request = replace(read_search(named, roles, query="query"), limit=size or 1)
    hits, page = await in_search_thread(_read, principal, search_request, after)
    shown = hits.hits[:size]
    edges = [Edge(cursor=f"{position}.{page}", node=SearchHit.of(hit)) for position, hit in enumerate(shown, start=1)]
    if edges and hits.next_cursor:
        edges[-1].cursor = f"0.{hits.next_cursor}"
    return SearchHits(
        edges=edges,
        page_info=PageInfo(
            has_next_page=bool(hits.next_cursor) or len(hits.hits) > size,
            has_previous_page=after is not None,
            start_cursor=edges[0].cursor if edges else None,
            end_cursor=edges[-1].cursor if edges else None,
        ),
        asked=str(hits.asked),
        mode=str(hits.mode),
        why=hits.why or None,
        excluded=list(hits.excluded),
        took_ms=round(hits.took_ms, 2),
    )


def _read(principal: Principal, search_request: SearchRequest, after: str | None) -> tuple[Hits, str]:
    """Return the hits after a cursor, and the cursor of their page."""
    page = ""
    if after is not None:
        match = PAGE_CURSOR.match(after)
        if match is None or int(match[1]) > MAX_HITS:
            raise InvalidCursor("This is not a cursor of this search.")
        page = match[2]
        if skipped := int(match[1]):
            # The next page begins after the skipped hits.
            before = replace(search_request, limit=skipped, cursor=page).find(principal)
            if not before.next_cursor:
                return replace(before, hits=()), page
            page = before.next_cursor
    return replace(search_request, cursor=page).find(principal), page


def _shown(row: rows.Message | None) -> Message | None:
    return Message.of(row) if row is not None else None
