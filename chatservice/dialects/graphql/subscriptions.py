"""Answers as they come. Every event has the cursor to continue after it; there is exactly one terminal event."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import cast

import strawberry
from strawberry import ID, UNSET
from strawberry.types import Info

from accounts.database import in_database_thread
from accounts.principal import Principal
from chatservice.dialects.endings import problem_of_end
from chatservice.dialects.graphql.arguments import identifier
from chatservice.dialects.graphql.asking import ENDED_WELL, Generation, Recall, new_message
from chatservice.dialects.graphql.context import context_of, principal_of
from chatservice.dialects.graphql.types import Conversation, Message, conversation_with
from chatservice.dialects.problems import Problem
from completions import models as run_rows
from completions import services
from completions.cursors import BadCursor, Cursor
from completions.following import STORAGE_NAPS, Events, StorageError, patiently
from completions.readers import subscribe
from completions.slots import take_stream_slot
from completions.types import Delta, Ended, Resync
from conversations import models as rows

DELETED = Problem(409, "deleted", "The conversation was deleted.")


@strawberry.interface(description="Something that happened in a run. `cursor` continues after it.")
class AnswerEvent:
    run_id: ID
    cursor: str


@strawberry.type(description="The question is stored, and the answer has begun.")
class AnswerStarted(AnswerEvent):
    conversation_id: ID | None
    message_id: ID | None

    @strawberry.field
    async def conversation(self, info: Info) -> Conversation | None:
        return await conversation_with(info, uuid.UUID(self.conversation_id)) if self.conversation_id else None


@strawberry.type(description="All that was said since the event before.")
class AnswerChunk(AnswerEvent):
    text: str


@strawberry.type(description="Your cursor could not be honoured: this is the whole text so far, in place of yours.")
class AnswerResync(AnswerEvent):
    text: str


@strawberry.type(description="It is over, and stored: a whole answer, or one that was stopped.")
class AnswerComplete(AnswerEvent):
    message: Message | None


@strawberry.type(description="It broke off. What was said is kept.")
class AnswerError(AnswerEvent):
    code: str
    reason: str
    retry_after: int | None
    message: Message | None


EVENTS = (AnswerStarted, AnswerChunk, AnswerResync, AnswerComplete, AnswerError)


@strawberry.type
class Subscription:
    @strawberry.subscription(description="Say something, and follow the answer. It is written whether you stay or not.")
    async def answer(
        self,
        info: Info,
        content: str,
        conversation_id: ID | None = None,
        parent_id: ID | None = UNSET,
        title: str | None = None,
        model: str | None = None,
        generation: Generation | None = None,
        idempotency_key: str | None = None,
        recall: Recall | None = None,
    ) -> AsyncGenerator[AnswerEvent, None]:
        principal = principal_of(info)
        question = new_message(
            principal,
            content=content,
            conversation_id=conversation_id,
            parent_id=parent_id,
            title=title,
            model=model,
            generation=generation,
            key=idempotency_key,
            recall=recall,
        )
        # Before anything is stored: who may not follow another answer may not ask for one here.
        release = take_stream_slot(principal)
        try:
            accepted = await services.ask(question)
            at = Cursor(accepted.run_id)
            yield _started(at, accepted.conversation_id, accepted.message_id)
            events = _follow(info, at, accepted.message_id)
            async with aclosing(events):
                async for event in events:
                    yield event
        finally:
            release()

    @strawberry.subscription(description="Follow a run: from its beginning, or after a cursor, also when it is over.")
    async def follow_run(self, info: Info, run_id: ID, cursor: str | None = None) -> AsyncGenerator[AnswerEvent, None]:
        principal = principal_of(info)
        after = Cursor.parse(cursor) if cursor is not None else None
        run = await in_database_thread(_run, principal, run_id)
        if after is not None and after.run_id != run.pk:
            raise BadCursor("This is the cursor of another run.")
        release = take_stream_slot(principal)
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
    # What opted out of history is nobody's to follow: nothing of it is stored.
    return services.runs_of(principal).exclude(message=None).get(pk=identifier(run_id))


def _started(at: Cursor, conversation_id: uuid.UUID | None, message_id: uuid.UUID | None) -> AnswerStarted:
    return AnswerStarted(
        run_id=ID(str(at.run_id)),
        cursor=str(at),
        conversation_id=ID(str(conversation_id)) if conversation_id else None,
        message_id=ID(str(message_id)) if message_id else None,
    )


async def _follow(info: Info, at: Cursor, message_id: uuid.UUID | None) -> AsyncGenerator[AnswerEvent, None]:
    """Give everything after `at`, up to the terminal event. A database that is away for a while delays it."""
    run_id = ID(str(at.run_id))
    failures = 0
    while True:
        events = cast(Events, subscribe(at.run_id, after=at, idle=60.0))
        try:
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
                        case Ended():
                            yield await _ending(info, at, message_id, event)
                            return
        except StorageError:
            if failures == len(STORAGE_NAPS):
                raise
            await asyncio.sleep(STORAGE_NAPS[failures])
            failures += 1


async def _ending(info: Info, at: Cursor, message_id: uuid.UUID | None, ended: Ended) -> AnswerEvent:
    context = context_of(info)
    context.forget()
    run_id, cursor = ID(str(at.run_id)), str(at)
    message = await patiently(_stored, context.principal, message_id)
    if ended.status in ENDED_WELL and message is not None:
        return AnswerComplete(run_id=run_id, cursor=cursor, message=message)
    problem = problem_of_end(ended) if ended.status not in ENDED_WELL else DELETED
    return AnswerError(
        run_id=run_id,
        cursor=cursor,
        code=problem.code,
        reason=problem.message,
        retry_after=problem.retry_after,
        message=message,
    )


def _stored(principal: Principal, message_id: uuid.UUID | None) -> Message | None:
    row = rows.Message.objects.owned_by(principal).filter(pk=message_id).first()
    return Message.of(row) if row is not None else None
