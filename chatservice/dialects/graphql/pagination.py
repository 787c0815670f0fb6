"""Relay's connections: `first`/`after` forward, `last`/`before` backward, opaque cursors."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import strawberry
from django.conf import settings
from django.db.models import Q, QuerySet

from chatservice.dialects.graphql.arguments import invalid
from chatservice.dialects.time_cursors import read_time_cursor
from completions.cursors import BadCursor

T = TypeVar("T")
DEFAULT_PAGE = 20


@strawberry.type
class PageInfo:
    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


@strawberry.type
class Edge(Generic[T]):
    cursor: str
    node: T


@strawberry.type
class Connection(Generic[T]):
    edges: list[Edge[T]]
    page_info: PageInfo
    count: strawberry.Private[Callable[[], Awaitable[int]] | None] = None

    @strawberry.field(description="Total number of items; null where counting is expensive.")
    async def total_count(self) -> int | None:
        return await self.count() if self.count is not None else None


@dataclass(frozen=True, slots=True)
class Window:
    """The requested part of a list."""

    size: int
    backward: bool
    after: str | None
    before: str | None

    @classmethod
    def read(cls, first: int | None, after: str | None, last: int | None, before: str | None) -> Window:
        """Check the four arguments; raises BadRequest."""
        if first is not None and last is not None:
            raise invalid("last", "Use either 'first' or 'last', not both.")
        backward = last is not None
        return cls(page_size(last if backward else first, "last" if backward else "first"), backward, after, before)


@dataclass(frozen=True, slots=True)
class Page:
    rows: list[Any]
    has_more: bool


def page_size(value: int | None, name: str = "first") -> int:
    most = settings.GRAPHQL_PAGE
    if value is None:
        return min(DEFAULT_PAGE, most)
    if not 0 <= value <= most:
        raise invalid(name, f"A whole number from 0 to {most}.")
    return value


def connection(
    edges: list[Edge[T]], window: Window, has_more: bool, count: Callable[[], Awaitable[int]] | None = None
) -> Connection[T]:
    forward_more, backward_more = (window.before is not None, has_more), (has_more, window.after is not None)
    has_next, has_previous = forward_more if window.backward else backward_more
    return Connection(
        edges=edges,
        page_info=PageInfo(
            has_next_page=has_next,
            has_previous_page=has_previous,
            start_cursor=edges[0].cursor if edges else None,
            end_cursor=edges[-1].cursor if edges else None,
        ),
        count=count,
    )


def newest_page(queryset: QuerySet[Any], kind: str, time_field: str, window: Window) -> Page:
    """Read a window of rows, newest first by `time_field` and id. Uses the database."""
    for text, sign in ((window.after, "lt"), (window.before, "gt")):
        if text is not None:
            at, pk = read_time_cursor(kind, text)
            same = Q(**{time_field: at, f"id__{sign}": pk})
            queryset = queryset.filter(Q(**{f"{time_field}__{sign}": at}) | same)
    order = (time_field, "id") if window.backward else (f"-{time_field}", "-id")
    rows = list(queryset.order_by(*order)[: window.size + 1])
    page = rows[: window.size]
    return Page(page[::-1] if window.backward else page, len(rows) > window.size)


def cut(ids: Sequence[uuid.UUID], window: Window) -> tuple[list[uuid.UUID], bool]:
    """Return the requested window of a list whose cursors are its ids, and whether more follows; raises BadCursor."""
    start, end = 0, len(ids)
    if window.after is not None:
        start = _index(ids, window.after) + 1
    if window.before is not None:
        end = max(start, _index(ids, window.before))
    part = list(ids[start:end])
    if window.backward:
        return part[len(part) - min(window.size, len(part)) :], len(part) > window.size
    return part[: window.size], len(part) > window.size


def _index(ids: Sequence[uuid.UUID], cursor: str) -> int:
    try:
        return ids.index(uuid.UUID(hex=cursor))
    except ValueError as error:
        raise BadCursor("This is not a cursor of this list.") from error
