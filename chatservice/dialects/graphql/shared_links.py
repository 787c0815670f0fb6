"""Links by which anybody reads a conversation up to a message."""

from __future__ import annotations

import datetime as dt

import strawberry
from django.conf import settings
from django.urls import reverse
from strawberry import ID
from strawberry.types import Info

from accounts.scopes import Scope
from chatservice.dialects.graphql import arguments
from chatservice.dialects.graphql.arguments import identifier, invalid
from chatservice.dialects.graphql.context import context_of, principal_of
from chatservice.dialects.graphql.scopes import needs
from foundation.database import in_database_thread
from sharing import models as rows
from sharing import services


@strawberry.type(description="A link by which anybody reads a conversation up to a message.")
class SharedLink:
    id: ID
    path: str = strawberry.field(description="Where on this host anybody reads it, until it expires or is revoked.")
    title: str = strawberry.field(description="The title that it shows.")
    conversation_id: ID
    message_id: ID = strawberry.field(description="The last message that it shows.")
    created_at: dt.datetime
    expires_at: dt.datetime

    @classmethod
    def of(cls, row: rows.SharedLink) -> SharedLink:
        return cls(
            id=ID(str(row.pk)),
            path=reverse("shared", args=[row.token]),
            title=row.title,
            conversation_id=ID(str(row.conversation_id)),
            message_id=ID(str(row.message_id)),
            created_at=row.created_at,
            expires_at=row.expires_at,
        )


@strawberry.type
class SharedLinkQueries:
    @strawberry.field(
        metadata=needs(Scope.READ),
        description="Your links that have not expired, newest first: all, or those to a conversation.",
    )
    async def shared_links(self, info: Info, conversation_id: ID | None = None) -> list[SharedLink]:
        mine = services.links_of(principal_of(info), conversation_id).order_by("-pk")
        found: list[rows.SharedLink] = await in_database_thread(list, mine)
        return [SharedLink.of(row) for row in found]


@strawberry.type
class SharedLinkMutations:
    @strawberry.mutation(
        metadata=needs(Scope.WRITE),
        description="Make a link by which anybody reads a conversation up to a message: questions and answers, with "
        "small copies of pictures. `title` is what it is called there, by default as the conversation.",
    )
    async def share_conversation(
        self, info: Info, message_id: ID, expires_in_days: int | None = None, title: str | None = None
    ) -> SharedLink | None:
        if expires_in_days is not None and not 1 <= expires_in_days <= settings.SHARE_MAX_DAYS:
            raise invalid("expiresInDays", f"A whole number from 1 to {settings.SHARE_MAX_DAYS} (SHARE_MAX_DAYS).")
        shown = arguments.text(title, "title", limit=200, blank=True) if title is not None else None
        principal, pk = principal_of(info), identifier(message_id)
        row = await in_database_thread(
            lambda: services.share_conversation(principal=principal, message_id=pk, days=expires_in_days, title=shown)
        )
        context_of(info).forget()
        return SharedLink.of(row)

    @strawberry.mutation(metadata=needs(Scope.WRITE), description="Revoke a link of yours. Returns its id.")
    async def revoke_shared_link(self, info: Info, id: ID) -> ID | None:
        principal, pk = principal_of(info), identifier(id)
        await in_database_thread(lambda: services.revoke_link(principal=principal, link_id=pk))
        return ID(str(pk))
