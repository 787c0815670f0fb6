"""Relays one run to one socket: its opening frame, its text, and exactly one terminal frame."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

from chatservice.dialects.attached_files import attached_files
from chatservice.dialects.websocket.frames import RelayedRun, end_frame, message_data, question_frame, text_frame
from completions.cursors import Cursor
from completions.readers import patiently, subscribe
from completions.types import FINISHED_WELL, Delta, Resync, RunFinished
from conversations.models import Message, load_parts
from conversations.reasoning import reasoning_in


class StreamRelay:
    """Relays one run. `transmit` sends a frame and waits for a slow reader; text that arrives meanwhile is combined.

    With `reasoning`, what the model thinks is sent, too.
    """

    def __init__(
        self,
        relayed: RelayedRun,
        transmit: Callable[[str], Awaitable[None]],
        after: Cursor | None,
        *,
        reasoning: bool = False,
    ) -> None:
        self._relayed = relayed
        self._transmit = transmit
        self._at = after or Cursor(relayed.run_id)
        self._reasoning = reasoning

    async def send_question(self, *, is_new: bool) -> None:
        """Send the frame that confirms that the question is stored."""
        question = await patiently(question_of, self._relayed)
        if question is not None:
            await self._transmit(question_frame(self._relayed, question, is_new=is_new))

    async def send_subscribed(self) -> None:
        data = {"message_id": self._relayed.message_id}
        await self._transmit(self._relayed.frame("subscribed", data, self._at))

    async def send_answer(self) -> None:
        """Send everything after the cursor, up to the terminal frame."""
        relayed = self._relayed
        events = subscribe(relayed.run_id, after=self._at, idle=60.0)
        async with aclosing(events):
            async for event in events:
                match event:
                    case Delta() | Resync():
                        end = event.end if isinstance(event, Delta) else len(event.text)
                        before, self._at = self._at, Cursor(relayed.run_id, event.seq, end)
                        if self._reasoning and isinstance(event, Delta) and (thought := reasoning_in(event.wire)):
                            # Text of the same delta is still to come after it.
                            at = before if event.text else self._at
                            await self._transmit(relayed.frame("ai_reasoning", thought, at))
                        # A delta without text (a tool call, reasoning) only moves the cursor.
                        if event.text or isinstance(event, Resync):
                            await self._transmit(text_frame(relayed, event, self._at))
                    case RunFinished():
                        ended_well = event.status in FINISHED_WELL
                        answer = await patiently(answer_of, relayed) if ended_well else None
                        await self._transmit(end_frame(relayed, event, answer, self._at))
                        return


def answer_of(relayed: RelayedRun) -> dict[str, Any] | None:
    answer = Message.objects.filter(pk=relayed.message_id).first()  # type: ignore[misc]  # None is not found
    return _shown(answer)


def question_of(relayed: RelayedRun) -> dict[str, Any] | None:
    return _shown(Message.objects.filter(children=relayed.message_id).first())


def _shown(message: Message | None) -> dict[str, Any] | None:
    if message is None:
        return None
    load_parts([message])
    return message_data(message, attached_files([message]).get(message.pk, ()))
