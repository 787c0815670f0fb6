"""The types of the graph: conversations, messages and their versions, runs, to-dos, and the caller."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any

import strawberry
from django.conf import settings
from strawberry import ID
from strawberry.scalars import JSON
from strawberry.types import Info

from accounts.callers import Principal
from accounts.guests import as_id
from accounts.scopes import Scope
from chatservice.dialects.attached_files import DETAILS_HELP, TEXT_HELP, AttachedFile
from chatservice.dialects.graphql.context import loaders_of, principal_of
from chatservice.dialects.graphql.loaders import Leaf, Source, VersionsKey
from chatservice.dialects.graphql.pagination import Connection, Edge, Window, connection, cut, page_size
from chatservice.dialects.graphql.scopes import needs
from completions import models as run_rows
from completions.preferred_model import preferred_model
from conversations import models as rows
from conversations.default_generation import default_generation
from conversations.finish_reasons import shown
from conversations.reasoning import reasoning_text
from feedback.models import Feedback as FeedbackRow
from foundation.database import in_database_thread
from usage.money import plain
from usage.reports import Used

First = Annotated[
    int | None, strawberry.argument(description="The number of items from the start: 20 by default, at most 50.")
]


@strawberry.type(description="The caller.")
class Viewer:
    id: ID
    username: str
    is_guest: bool
    is_staff: bool

    @classmethod
    def of(cls, principal: Principal) -> Viewer:
        return cls(
            id=ID(str(principal.user_id)),
            username=principal.username,
            is_guest=principal.is_guest,
            is_staff=principal.is_staff,
        )

    @strawberry.field(
        metadata=needs(None),
        description="The model that your new chats begin with on the page; null for `defaultModel`, also if the one "
        "that you chose is gone or no longer allowed.",
    )
    async def preferred_model(self, info: Info) -> str | None:
        return await preferred_model(principal_of(info))

    @strawberry.field(
        metadata=needs(None),
        description="What your new conversations begin with as their `generation`; null for nothing.",
    )
    async def default_generation(self, info: Info) -> JSON | None:
        principal = principal_of(info)
        stored = None if principal.is_guest else await in_database_thread(default_generation, principal.user_id)
        return None if stored is None else JSON(stored)


@strawberry.type(description="One generation: a model writing one message.")
class Run:
    id: ID
    state: str
    model: str
    finish_reason: str | None
    usage: JSON | None
    recalled: list[ID] | None = strawberry.field(
        description="The messages quoted to the model; null if recall was not requested."
    )
    cost: str | None = strawberry.field(description="A decimal number in the currency; null without a known price.")
    is_estimate: bool = strawberry.field(description="Whether the tokens were estimated, since none were reported.")
    error_code: str | None
    error_message: str | None = strawberry.field(description="What the service, or the model's server, said about it.")
    retry_at: dt.datetime | None = strawberry.field(
        description="When it makes sense to ask again, where a failure said so."
    )
    created_at: dt.datetime
    finished_at: dt.datetime | None

    @classmethod
    def of(cls, row: run_rows.Run) -> Run:
        return cls(
            id=ID(str(row.pk)),
            state=row.state,
            model=row.model,
            finish_reason=shown(row.finish_reason),
            usage=row.usage,
            recalled=None if row.recalled is None else [ID(each["message_id"]) for each in row.recalled],
            cost=None if row.cost is None else plain(row.cost),
            is_estimate=bool(row.is_estimate),
            error_code=row.error_code or None,
            error_message=row.error_message or None,
            retry_at=row.retry_at,
            created_at=row.created_at,
            finished_at=row.finished_at,
        )


@strawberry.type(description="What you used of one model on one day.")
class Usage:
    day: dt.date
    model: str
    requests: int
    failed: int
    estimated: int = strawberry.field(description="Requests whose tokens were not reported but estimated.")
    unpriced: int = strawberry.field(description="Requests without a known price: they are not in `cost`.")
    input_tokens: float = strawberry.field(description="A whole number, which can be greater than an Int.")
    cached_tokens: float
    output_tokens: float
    reasoning_tokens: float
    cost: str = strawberry.field(description="A decimal number in `currency`.")
    currency: str

    @classmethod
    def of(cls, used: Used) -> Usage:
        return cls(**{**asdict(used), "cost": plain(used.cost)}, currency=settings.CURRENCY)


@strawberry.type(
    description="A file that a message refers to. Of one that was deleted, or expired, only the id is known. "
    "`GET /v1/files/{id}/content` has its content."
)
class MessageFile:
    id: ID
    name: str | None
    media_type: str | None
    bytes: int | None
    text: str | None = strawberry.field(description=TEXT_HELP)
    text_details: str | None = strawberry.field(description=DETAILS_HELP)

    @classmethod
    def of(cls, file: AttachedFile) -> MessageFile:
        return cls(
            id=ID(file.id),
            name=file.name,
            media_type=file.media_type,
            bytes=file.bytes,
            text=file.text,
            text_details=file.text_details,
        )


FeedbackRating = FeedbackRow.Rating
strawberry.enum(FeedbackRating, name="FeedbackRating")


@strawberry.type(description="What you think of an answer.")
class Feedback:
    rating: FeedbackRating
    comment: str
    created_at: dt.datetime
    updated_at: dt.datetime

    @classmethod
    def of(cls, row: FeedbackRow) -> Feedback:
        return cls(
            rating=FeedbackRating(row.rating),
            comment=row.comment,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )


@strawberry.type(description="What a model thought before it answered.")
class Reasoning:
    text: str
    seconds: float | None = strawberry.field(description="How long it thought; null if that is not known.")


@strawberry.type(
    description="A tool that a model wants to be called. `arguments` is JSON, as far as the model wrote it."
)
class ToolCall:
    id: str | None
    name: str
    arguments: str

    @classmethod
    def of(cls, wire: Mapping[str, Any]) -> ToolCall:
        """Return a call of the chat wire: of a function, of a custom tool, or of the former `function_call`."""
        function = wire.get("function") or wire.get("custom") or wire
        given = function.get("arguments") or function.get("input") or ""
        return cls(
            id=wire.get("id"),
            name=str(function.get("name") or "?"),
            arguments=given if isinstance(given, str) else json.dumps(given, ensure_ascii=False),
        )


@strawberry.type(description="A message. Editing and regenerating add other versions of it.")
class Message:
    row: strawberry.Private[rows.Message]
    id: ID
    role: str
    content: str
    author: str | None
    model: str | None
    status: str
    finish_reason: str | None
    usage: JSON | None
    position: int
    parent_id: ID | None
    created_at: dt.datetime

    @classmethod
    def of(cls, row: rows.Message) -> Message:
        return cls(
            row=row,
            id=ID(str(row.pk)),
            role=row.role,
            content=row.content,
            author=row.author or None,
            model=row.model or None,
            status=row.status,
            finish_reason=shown(row.finish_reason),
            usage=row.usage,
            position=row.position,
            parent_id=ID(str(row.parent_id)) if row.parent_id else None,
            created_at=row.created_at,
        )

    @strawberry.field(metadata=needs(None))
    async def files(self, info: Info) -> list[MessageFile]:
        found = await loaders_of(info).files.load(self.row) if self.row.has_parts else ()
        return [MessageFile.of(each) for each in found]

    @strawberry.field(metadata=needs(None), description="What you think of the answer, if you said.")
    async def feedback(self, info: Info) -> Feedback | None:
        row = await loaders_of(info).feedback.load(self.row)
        return Feedback.of(row) if row is not None else None

    @strawberry.field
    async def parts(self, info: Info) -> JSON | None:
        extras = await self._extras(info)
        return JSON(extras) if extras else None

    @strawberry.field(metadata=needs(Scope.READ))
    async def reasoning(self, info: Info) -> Reasoning | None:
        text = reasoning_text(await self._extras(info), between="\n\n")
        if not text:
            return None
        run = await loaders_of(info).run_of_message.load(self.row.pk)
        return Reasoning(text=text, seconds=run.reasoning_seconds if run is not None else None)

    @strawberry.field(metadata=needs(None))
    async def tool_calls(self, info: Info) -> list[ToolCall]:
        extras = await self._extras(info)
        calls = extras.get("tool_calls") or [extras.get("function_call")]
        return [ToolCall.of(each) for each in calls if isinstance(each, dict)]

    async def _extras(self, info: Info) -> Mapping[str, Any]:
        return (await loaders_of(info).extras.load(self.row) if self.row.has_parts else None) or {}

    @strawberry.field(
        description="Why a complete answer has no text: refusal (`content` is its text), reasoning_only or empty."
    )
    async def empty_reason(self, info: Info) -> str | None:
        return await loaders_of(info).empty_reason.load(self.row)

    @strawberry.field(
        description="The Markdown of `content` as safe HTML: no scripts, no images. A user's line breaks are kept."
    )
    async def html(self, info: Info) -> str:
        typed = self.row.role == rows.Message.Role.USER
        return await loaders_of(info).html.load(Source(self.content, keep_breaks=typed))

    @strawberry.field(
        description="The ids of its versions, oldest first. An answer that ended without a word, such as a retry that"
        " failed, is none, unless the conversation went on from it."
    )
    async def versions(self, info: Info) -> list[ID]:
        key = VersionsKey(self.row.conversation_id, self.row.parent_id, self.row.role)
        return [ID(str(pk)) for pk in await loaders_of(info).version_ids.load(key)]

    @strawberry.field(metadata=needs(Scope.READ))
    async def conversation(self, info: Info) -> Conversation | None:
        return await conversation_with(info, self.row.conversation_id)

    @strawberry.field(metadata=needs(Scope.READ), description="The message before it.")
    async def parent(self, info: Info) -> Message | None:
        return await message_with(info, self.row.parent_id)

    @strawberry.field(metadata=needs(Scope.READ), description="Its other versions, oldest first.")
    async def siblings(self, info: Info, first: First = None) -> list[Message]:
        size = page_size(first)
        key = VersionsKey(self.row.conversation_id, self.row.parent_id, self.row.role)
        versions = await loaders_of(info).versions.load(key)
        return [Message.of(row) for row in versions if row.pk != self.row.pk][:size]

    @strawberry.field(metadata=needs(Scope.READ), description="For an answer, the run that writes or wrote it.")
    async def run(self, info: Info) -> Run | None:
        row = await loaders_of(info).run_of_message.load(self.row.pk)
        return Run.of(row) if row is not None else None


@strawberry.type
class Conversation:
    row: strawberry.Private[rows.Conversation]
    id: ID
    title: str
    end_user: str | None
    metadata: JSON
    generation: JSON | None
    archived: bool
    pinned: bool
    created_at: dt.datetime
    updated_at: dt.datetime

    @classmethod
    def of(cls, row: rows.Conversation) -> Conversation:
        return cls(
            row=row,
            id=ID(str(row.pk)),
            title=row.title,
            end_user=row.end_user or None,
            metadata=row.metadata,
            generation=row.generation,
            archived=row.archived_at is not None,
            pinned=row.pinned_at is not None,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )

    @strawberry.field(
        metadata=needs(Scope.READ),
        description="The messages of a branch, oldest first: the shown one, or the one that ends with `branch`.",
    )
    async def messages(
        self,
        info: Info,
        first: First = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
        branch: ID | None = None,
    ) -> Connection[Message]:
        window = Window.read(first, after, last, before)
        leaf_id = as_id(branch) if branch is not None else self.row.head_id
        ids = await loaders_of(info).branch.load(Leaf(self.row.pk, leaf_id))
        if branch is not None and not ids:
            raise rows.Message.DoesNotExist
        shown, has_more = cut(ids, window)
        found = await loaders_of(info).message.load_many(shown)
        edges = [Edge(cursor=row.pk.hex, node=Message.of(row)) for row in found if row is not None]
        return connection(edges, window, has_more, partial(_size, len(ids)))

    @strawberry.field(metadata=needs(Scope.READ), description="Its tags, in the order of the alphabet.")
    async def tags(self, info: Info) -> list[str]:
        return await loaders_of(info).tags.load(self.row.pk)

    @strawberry.field(
        metadata=needs(Scope.READ),
        description="The run that writes an answer, or is the next to, to be followed or stopped.",
    )
    async def active_run(self, info: Info) -> Run | None:
        row = await loaders_of(info).active_run.load(self.row.pk)
        return Run.of(row) if row is not None else None


@strawberry.type(description="A to-do, optionally about a conversation.")
class Todo:
    row: strawberry.Private[rows.Todo]
    id: ID
    title: str
    completed: bool
    created_at: dt.datetime

    @classmethod
    def of(cls, row: rows.Todo) -> Todo:
        return cls(row=row, id=ID(str(row.pk)), title=row.title, completed=row.completed, created_at=row.created_at)

    @strawberry.field(metadata=needs(Scope.READ))
    async def conversation(self, info: Info) -> Conversation | None:
        return await conversation_with(info, self.row.conversation_id)


async def conversation_with(info: Info, pk: uuid.UUID | None) -> Conversation | None:
    row = await loaders_of(info).conversation.load(pk) if pk is not None else None
    return Conversation.of(row) if row is not None else None


async def message_with(info: Info, pk: uuid.UUID | None) -> Message | None:
    row = await loaders_of(info).message.load(pk) if pk is not None else None
    return Message.of(row) if row is not None else None


async def _size(known: int) -> int:
    return known
