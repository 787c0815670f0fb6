"""The queries: me, conversations, messages, search, to-dos, runs."""

from __future__ import annotations

import datetime as dt
import uuid
from functools import partial

import strawberry
from django.conf import settings
from django.utils import timezone
from strawberry import ID
from strawberry.types import Info

from accounts.guests import as_id
from accounts.scopes import Scope
from chatservice.dialects.graphql.arguments import identifier, invalid, refuse_strangers
from chatservice.dialects.graphql.arguments import tags as read_tags
from chatservice.dialects.graphql.context import principal_of
from chatservice.dialects.graphql.pagination import (
    Connection,
    Edge,
    Window,
    connection,
    newest_page,
    page_size,
)
from chatservice.dialects.graphql.rendering import FinishedBlocks, finished_blocks
from chatservice.dialects.graphql.scopes import needs
from chatservice.dialects.graphql.searching import SearchHits, search
from chatservice.dialects.graphql.shared_links import SharedLinkQueries
from chatservice.dialects.graphql.types import (
    Conversation,
    First,
    Message,
    Run,
    Todo,
    Usage,
    Viewer,
    conversation_with,
    message_with,
)
from chatservice.dialects.time_cursors import time_cursor
from completions import models as run_rows
from completions.providers import list_models
from completions.request_policy import allowed_models
from conversations import models as rows
from conversations.tags import tag_key, tags_of
from foundation.database import in_database_thread
from usage.periods import day_of
from usage.reports import MAX_DAYS, usage_of


@strawberry.type
class Query(SharedLinkQueries):
    @strawberry.field(metadata=needs(Scope.READ))
    def me(self, info: Info) -> Viewer:
        return Viewer.of(principal_of(info))

    @strawberry.field(
        metadata=needs(Scope.GENERATE),
        description="The values you can use for `model`. Any other value is passed on to the default upstream, if you "
        "may use it.",
    )
    async def models(self, info: Info) -> list[str]:
        return [model.id for model in await allowed_models(principal_of(info), await list_models())]

    @strawberry.field(metadata=needs(Scope.GENERATE), description="The model used when `model` is omitted.")
    def default_model(self) -> str:
        return str(settings.DEFAULT_MODEL)

    @strawberry.field(
        metadata=needs(Scope.READ),
        description="Your conversations, newest first; all of them with `archived: null`, those that are pinned with "
        "`pinned: true`, those with a tag with `tag`.",
    )
    async def conversations(
        self,
        info: Info,
        first: First = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
        archived: bool | None = False,
        pinned: bool | None = None,
        tag: str | None = None,
    ) -> Connection[Conversation]:
        principal = principal_of(info)
        refuse_strangers(principal)
        window = Window.read(first, after, last, before)
        mine = rows.Conversation.objects.visible_to(principal)
        if archived is not None:
            mine = mine.filter(archived_at__isnull=not archived)
        if pinned is not None:
            mine = mine.filter(pinned_at__isnull=not pinned)
        if tag is not None:
            mine = mine.tagged(tag_key(read_tags([tag], "tag")[0]), principal)
        page = await in_database_thread(newest_page, mine, "c", "updated_at", window)
        edges = [Edge(cursor=time_cursor("c", row.updated_at, row.pk), node=Conversation.of(row)) for row in page.rows]
        return connection(edges, window, page.has_more, partial(in_database_thread, mine.count))

    @strawberry.field(
        metadata=needs(Scope.READ), description="All tags of your conversations, in the order of the alphabet."
    )
    async def tags(self, info: Info) -> list[str]:
        principal = principal_of(info)
        refuse_strangers(principal)
        return await in_database_thread(tags_of, principal)

    @strawberry.field(metadata=needs(Scope.READ))
    async def conversation(self, info: Info, id: ID) -> Conversation | None:
        return await conversation_with(info, as_id(id))

    @strawberry.field(metadata=needs(Scope.READ))
    async def message(self, info: Info, id: ID) -> Message | None:
        return await message_with(info, as_id(id))

    @strawberry.field(
        metadata=needs(Scope.READ),
        description="The blocks of an answer's Markdown that are finished, to show them while it is written. `text` "
        "are whole lines, `state` is that of the blocks before.",
    )
    async def finished_blocks(self, text: str, state: str = "") -> FinishedBlocks:
        return await finished_blocks(text, state)

    @strawberry.field(metadata=needs(Scope.READ))
    async def run(self, info: Info, id: ID) -> Run | None:
        pk = as_id(id)
        found = (
            await in_database_thread(run_rows.Run.objects.visible_to(principal_of(info)).filter(pk=pk).first)
            if pk
            else None
        )
        return Run.of(found) if found is not None else None

    @strawberry.field(
        metadata=needs(Scope.READ), description="Your usage of the last `days`, by day and model, newest first."
    )
    async def usage(self, info: Info, days: int = 30) -> list[Usage]:
        principal = principal_of(info)
        refuse_strangers(principal)
        if not 1 <= days <= MAX_DAYS:
            raise invalid("days", f"A whole number from 1 to {MAX_DAYS}.")
        since = day_of(timezone.now()) - dt.timedelta(days=days)
        used = await in_database_thread(lambda: usage_of(principal, since=since))
        return [Usage.of(each) for each in used]

    @strawberry.field(
        metadata=needs(Scope.SEARCH),
        description="Messages that match `query` by words and by meaning, best first. `since` and `until` are days "
        "or times in ISO 8601; `archived: null` searches all conversations; "
        '`group: "conversation"` gives the best hit of each, with the number of others.',
    )
    async def search(
        self,
        info: Info,
        query: str,
        first: First = None,
        after: str | None = None,
        mode: str | None = None,
        conversation_id: ID | None = None,
        role: list[str] | None = None,
        model: str | None = None,
        since: str | None = None,
        until: str | None = None,
        archived: bool | None = None,
        end_user: str | None = None,
        tag: str | None = None,
        group: str | None = None,
    ) -> SearchHits:
        principal = principal_of(info)
        refuse_strangers(principal)
        return await search(
            principal,
            first,
            after,
            role or [],
            query=query,
            mode=mode,
            conversation_id=conversation_id,
            model=model,
            since=since,
            until=until,
            archived=archived,
            end_user=end_user,
            tag=tag,
            group=group,
        )

    @strawberry.field(
        metadata=needs(Scope.READ),
        description="Your to-dos, oldest first: all of them, unless `first` limits the number.",
    )
    async def todos(
        self,
        info: Info,
        first: int | None = None,
        after: ID | None = None,
        completed: bool | None = None,
        conversation_id: ID | None = None,
    ) -> list[Todo]:
        principal = principal_of(info)
        refuse_strangers(principal)
        mine = rows.Todo.objects.visible_to(principal).oldest_first()
        if completed is not None:
            mine = mine.filter(completed=completed)
        if conversation_id is not None:
            # An invalid id finds nothing, just like somebody else's.
            mine = mine.filter(conversation_id=as_id(conversation_id) or uuid.UUID(int=0))
        if after is not None:
            mine = mine.filter(pk__gt=identifier(after))
        if first is not None:
            mine = mine[: page_size(first)]
        found: list[rows.Todo] = await in_database_thread(list, mine)
        return [Todo.of(row) for row in found]

    @strawberry.field(metadata=needs(Scope.READ))
    async def todo(self, info: Info, id: ID) -> Todo | None:
        pk = as_id(id)
        mine = rows.Todo.objects.visible_to(principal_of(info))
        found = await in_database_thread(mine.filter(pk=pk).first) if pk else None
        return Todo.of(found) if found is not None else None
