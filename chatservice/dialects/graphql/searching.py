"""What was said where, as GraphQL shows it: a connection whose every cursor can be continued from."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import strawberry

from accounts.principal import Principal
from chatservice.dialects.graphql.paging import Connection, Edge, PageInfo, page_size
from chatservice.dialects.graphql.types import Conversation, Message
from chatservice.dialects.searching import Sought, branch_of, read_search
from conversations import models as rows
from search.results import MOST_HITS, Hit, Hits, InvalidCursor
from search.threads import in_search_thread

# A place within a page: how many hits of it come before, and the page's own cursor.
PLACE = re.compile(r"(\d{1,3})\.(.*)\Z", re.ASCII | re.DOTALL)


@strawberry.type(description="A message that was found, where it stands, and why it was found.")
class SearchHit:
    message: Message
    conversation: Conversation
    branch: str = strawberry.field(description="`shown`, or `other version`: it is not on the branch that is shown.")
    snippet: str
    highlights: list[list[int]] = strawberry.field(
        description="[start, end] of what was found, in code points of `snippet`."
    )
    before: Message | None = strawberry.field(description="What was said before it, on its branch.")
    after: Message | None
    score: float = strawberry.field(description="0 to 1, comparable within one answer.")
    text_score: float | None
    semantic_score: float | None
    matched: str = strawberry.field(description="`words`, `meaning` or `both`.")

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
        )


@strawberry.type(name="SearchHitConnection")
class SearchHits(Connection[SearchHit]):
    asked: str
    mode: str = strawberry.field(description="What answered: `hybrid`, `semantic` or `text`.")
    why: str | None = strawberry.field(description="Why that is not what was asked.")
    took_ms: float


async def search(
    principal: Principal, first: int | None, after: str | None, roles: list[str], **given: Any
) -> SearchHits:
    """Return a page of hits; raises BadRequest, InvalidCursor."""
    size = page_size(first)
    archived = given.pop("archived")
    named = {name: value for name, value in given.items() if value is not None}
    if archived is not None:
        named["archived"] = "true" if archived else "false"
    # Of nothing, too, it is known whether there is more.
    sought = replace(read_search(named, roles, query="query"), limit=size or 1)
    hits, page = await in_search_thread(_read, principal, sought, after)
    shown = hits.hits[:size]
    edges = [Edge(cursor=f"{place}.{page}", node=SearchHit.of(hit)) for place, hit in enumerate(shown, start=1)]
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
        took_ms=round(hits.took_ms, 2),
    )


def _read(principal: Principal, sought: Sought, after: str | None) -> tuple[Hits, str]:
    """Return the hits after a place, and the cursor of the page that they are."""
    page = ""
    if after is not None:
        match = PLACE.match(after)
        if match is None or int(match[1]) > MOST_HITS:
            raise InvalidCursor("This is not a cursor of this search.")
        page = match[2]
        if skipped := int(match[1]):
            # A place within a page: its end is where the next one begins.
            before = replace(sought, limit=skipped, cursor=page).find(principal)
            if not before.next_cursor:
                return replace(before, hits=()), page
            page = before.next_cursor
    return replace(sought, cursor=page).find(principal), page


def _shown(row: rows.Message | None) -> Message | None:
    return Message.of(row) if row is not None else None
