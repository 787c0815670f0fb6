"""One run told to one socket: its opening frame, what is said, and exactly one terminal frame."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar, cast

from django.db import InterfaceError, OperationalError

from accounts.database import in_database_thread
from completions.cursors import Cursor
from completions.frames import Followed, end_frame, question_frame, text_frame
from completions.readers import subscribe
from completions.types import Delta, Ended, Quiet, ReaderEvent, Resync
from conversations.models import Message

T = TypeVar("T")
Events = AsyncGenerator[ReaderEvent | Quiet, None]

# A database that is away for a while delays frames; it does not end them.
STORAGE_NAPS = (0.1, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
StorageError = (OperationalError, InterfaceError)


class Following:
    """`transmit` sends a frame and waits while the client reads slowly; meanwhile the text gathers into one frame."""

    def __init__(self, followed: Followed, transmit: Callable[[str], Awaitable[None]], after: Cursor | None) -> None:
        self._followed = followed
        self._transmit = transmit
        self._at = after or Cursor(followed.run_id)

    async def tell_question(self, *, is_new: bool) -> None:
        """Say that the question is stored."""
        question = await patiently(question_of, self._followed)
        if question is not None:
            await self._transmit(question_frame(self._followed, question, is_new=is_new))

    async def tell_subscribed(self) -> None:
        data = {"message_id": self._followed.message_id}
        await self._transmit(self._followed.frame("subscribed", data, self._at))

    async def tell_answer(self) -> None:
        """Say everything after the cursor, up to the terminal frame."""
        failures = 0
        while True:
            try:
                await self._tell_events()
                return
            except StorageError:
                if failures == len(STORAGE_NAPS):
                    raise
                await asyncio.sleep(STORAGE_NAPS[failures])
                failures += 1

    async def _tell_events(self) -> None:
        followed = self._followed
        events = cast(Events, subscribe(followed.run_id, after=self._at, idle=60.0))
        async with aclosing(events):
            async for event in events:
                match event:
                    case Delta() | Resync():
                        end = event.end if isinstance(event, Delta) else len(event.text)
                        self._at = Cursor(followed.run_id, event.seq, end)
                        # A piece without text (a tool call, reasoning) only moves the cursor.
                        if event.text or isinstance(event, Resync):
                            await self._transmit(text_frame(followed, event, self._at))
                    case Ended():
                        answer = await patiently(answer_of, followed)
                        await self._transmit(end_frame(followed, event, answer, self._at))
                        return


def answer_of(followed: Followed) -> Message | None:
    return Message.objects.filter(pk=followed.message_id).first()


def question_of(followed: Followed) -> Message | None:
    return Message.objects.filter(children=followed.message_id).first()


async def patiently(function: Callable[..., T], *arguments: Any) -> T:
    """Call `function` in a database thread, again and again while the database is away."""
    for nap in STORAGE_NAPS:
        try:
            return await in_database_thread(function, *arguments)
        except StorageError:
            await asyncio.sleep(nap)
    return await in_database_thread(function, *arguments)
