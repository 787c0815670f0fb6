"""Subscriptions to answers. Every event has the cursor to resume after it; exactly one event is terminal."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing

import strawberry
from strawberry import ID, UNSET
from strawberry.types import Info

from accounts.callers import Principal
from accounts.scopes import Scope
from chatservice.dialects.graphql.arguments import FileIds, identifier
from chatservice.dialects.graphql.context import context_of, principal_of
from chatservice.dialects.graphql.generation import ConversationGeneration, Generation, Recall, new_message
from chatservice.dialects.graphql.scopes import needs
from chatservice.dialects.graphql.types import Conversation, Message, conversation_with
from chatservice.dialects.leaving import cancels
from chatservice.dialects.problems import Problem
from chatservice.dialects.run_errors import problem_of_end
from chatservice.dialects.run_requests import submit
from completions import models as run_rows
from completions.cursors import BadCursor, Cursor
from completions.leaving import stop_soon
from completions.readers import patiently, subscribe
from completions.run_requests import WhenBusy
from completions.stream_limits import acquire_stream
from completions.types import FINISHED_WELL, Delta, Resync, RunFinished
from conversations import models as rows
from foundation.database import StorageError, in_database_thread

MESSAGE_SECONDS = 2.0
DELETED = Problem(409, "deleted", "The conversation was deleted.")


@strawberry.interface(description="An event of a run. Use its `cursor` to resume after it.")
class AnswerEvent:
    run_id: ID
    cursor: str


@strawberry.type(description="The question is stored, and the answer has started.")
class AnswerStarted(AnswerEvent):
    conversation_id: ID | None
    message_id: ID | None

    @strawberry.field(metadata=needs(None))
    async def conversation(self, info: Info) -> Conversation | None:
        return await conversation_with(info, uuid.UUID(self.conversation_id)) if self.conversation_id else None


@strawberry.type(description="The text since the previous event.")
class AnswerChunk(AnswerEvent):
    text: str


@strawberry.type(
    description="The cursor could not be used: this is the complete text so far and replaces what you have."
)
class AnswerResync(AnswerEvent):
    text: str


@strawberry.type(description="The answer is complete, or was stopped, and is stored.")
class AnswerComplete(AnswerEvent):
    message: Message | None


@strawberry.type(description="The answer failed. Its text so far is kept.")
class AnswerError(AnswerEvent):
    code: str
    reason: str
    retry_after: int | None
    message: Message | None


EVENTS = (AnswerStarted, AnswerChunk, AnswerResync, AnswerComplete, AnswerError)


@strawberry.type
class Subscription:
    @strawberry.subscription(
        metadata=needs(Scope.GENERATE),
        description="Send a message and follow the answer. It is completed even if you disconnect.",
    )
    async def answer(
        self,
        info: Info,
        content: str,
        file_ids: FileIds = None,
        conversation_id: ID | None = None,
        parent_id: ID | None = UNSET,
        title: str | None = None,
        model: str | None = None,
        generation: Generation | None = None,
        idempotency_key: str | None = None,
        recall: Recall | None = None,
        conversation_generation: ConversationGeneration | None = UNSET,
        when_busy: WhenBusy = WhenBusy.REJECT,
    ) -> AsyncGenerator[AnswerEvent, None]:
        principal = principal_of(info)
        question = await new_message(
            principal,
            content=content,
            file_ids=file_ids,
            conversation_id=conversation_id,
            parent_id=parent_id,
            title=title,
            model=model,
            generation=generation,
            key=idempotency_key,
            recall=recall,
            conversation_generation=conversation_generation,
            when_busy=when_busy,
        )
        stops = cancels(None, "graphql", keyed=bool(question.idempotency_key))
        # Checked before anything is stored: a caller who may not open another stream may not ask here.
        release = acquire_stream(principal)
        handle = None
        try:
            handle = await submit(question)
            at = Cursor(handle.run_id)
            yield _started(at, handle.conversation_id, handle.message_id)
            events = _follow(info, at, handle.message_id)
            async with aclosing(events):
                async for event in events:
                    yield event
        finally:
            release()
            if stops and handle is not None:
                stop_soon(handle.run_id)

    @strawberry.subscription(
        metadata=needs(Scope.READ),
        description="Follow a run from its beginning or after a cursor, even when it has ended.",
    )
    async def follow_run(self, info: Info, run_id: ID, cursor: str | None = None) -> AsyncGenerator[AnswerEvent, None]:
        principal = principal_of(info)
        after = Cursor.parse(cursor) if cursor is not None else None
        run = await in_database_thread(_run, principal, run_id)
        if after is not None and after.run_id != run.pk:
            raise BadCursor("This is the cursor of another run.")
        release = acquire_stream(principal)
        try:
            if after is None:
                yield _started(Cursor(run.pk), run.conversation_id, run.message_id)
            events = _follow(info, after or Cursor(run.pk), run.message_id)
            async with aclosing(events):
                async for event in events:
                    yield event
        finally:
            release()


def _run(principal: Principal, run_id: ID) -> run_rows.Run:
    # A run that opted out of history cannot be followed, because nothing of it is stored.
    return run_rows.Run.objects.visible_to(principal).exclude(message=None).get(pk=identifier(run_id))


def _started(at: Cursor, conversation_id: uuid.UUID | None, message_id: uuid.UUID | None) -> AnswerStarted:
    return AnswerStarted(
        run_id=ID(str(at.run_id)),
        cursor=str(at),
        conversation_id=ID(str(conversation_id)) if conversation_id else None,
        message_id=ID(str(message_id)) if message_id else None,
    )


async def _follow(info: Info, at: Cursor, message_id: uuid.UUID | None) -> AsyncGenerator[AnswerEvent, None]:
    """Yield all events after `at`, up to the terminal one."""
    run_id = ID(str(at.run_id))
    events = subscribe(at.run_id, after=at, idle=60.0)
    async with aclosing(events):
        async for event in events:
            match event:
                case Delta():
                    at = Cursor(at.run_id, event.seq, event.end)
                    if event.text:  # a tool call only moves the cursor
                        yield AnswerChunk(run_id=run_id, cursor=str(at), text=event.text)
                case Resync():
                    at = Cursor(at.run_id, event.seq, len(event.text))
                    yield AnswerResync(run_id=run_id, cursor=str(at), text=event.text)
                case RunFinished():
                    yield await _ending(info, at, message_id, event)
                    return


async def _ending(info: Info, at: Cursor, message_id: uuid.UUID | None, finished: RunFinished) -> AnswerEvent:
    context = context_of(info)
    context.forget()
    run_id, cursor = ID(str(at.run_id)), str(at)
    if finished.status in FINISHED_WELL:
        message = await patiently(_stored, context.principal, message_id)
        if message is not None:
            return AnswerComplete(run_id=run_id, cursor=cursor, message=message)
    else:
        message = None
        with contextlib.suppress(*StorageError):  # the end is sent even if the message cannot be read
            message = await in_database_thread(_stored, context.principal, message_id, seconds=MESSAGE_SECONDS)
    problem = problem_of_end(finished) if finished.status not in FINISHED_WELL else DELETED
    return AnswerError(
        run_id=run_id,
        cursor=cursor,
        code=problem.code,
        reason=problem.message,
        retry_after=problem.retry_after,
        message=message,
    )


def _stored(principal: Principal, message_id: uuid.UUID | None) -> Message | None:
    visible = rows.Message.objects.visible_to(principal)
    row = visible.filter(pk=message_id).first()  # type: ignore[misc]  # None is not found
    return Message.of(row) if row is not None else None
