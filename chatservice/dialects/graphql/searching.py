"""What was said where, as GraphQL shows it."""

from __future__ import annotations

import strawberry

from chatservice.dialects.graphql.types import Message
from conversations import models as rows
from search.queries import MODE, snippet


@strawberry.type
class SearchHit:
    message: Message
    snippet: str
    score: float
    match: str


def hit(row: rows.Message, sought: str) -> SearchHit:
    return SearchHit(message=Message.of(row), snippet=snippet(row.content, sought), score=1.0, match=MODE)
