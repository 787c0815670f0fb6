"""Clients of the Responses API: one that stays, and one that creates a background response and leaves at once."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from typing import Any

from chatservice.dialects import DIALECTS
from tests.chaos import wire
from tests.chaos.readers import Disagreement, EventReader, Pick, Reader

QUEUED_SECONDS = 20.0
"""A killed process may have had the response in its queue: the others notice within 15 s."""
TERMINAL = ("response.completed", "response.failed", "response.incomplete")


class ResponsesReader(EventReader):
    """It resumes after the number of its last event."""

    dialect = "openai_v1"
    name = "responses"

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.events: list[wire.Event] = []
        self.last: dict[str, Any] = {}
        """The response in the terminal event."""

    @property
    def path(self) -> str:
        return f"/v1/responses/resp_{uuid.UUID(self.run_id).hex}"

    def forget(self) -> None:
        super().forget()
        self.events = []

    async def begin(self, port: int, patience: float) -> None:
        await self._create(port, patience)

    async def _create(self, port: int, patience: float, **more: Any) -> None:
        body = {"model": self.model, "input": self.prompt, "stream": True, **more}
        await self._read(port, "POST", "/v1/responses", patience, body=body, idempotency_key=self.key)

    async def resume(self, port: int, patience: float) -> None:
        after = f"&starting_after={len(self.events) - 1}" if self.events else ""
        await self._read(port, "GET", f"{self.path}?stream=true{after}", patience)

    def take(self, event: wire.Event) -> None:
        if event.data == "[DONE]":
            return
        frame = json.loads(event.data)
        if (number := frame["sequence_number"]) != len(self.events):
            raise Disagreement(f"event {number} came after {len(self.events)} events")
        if frame["type"] == "error":  # only this reading is over: a later one has another event in its place
            return self.finish(f"error:{frame['code']}")
        self.events.append(event)
        if frame["type"] == "response.output_text.delta":
            self.text += frame["delta"]
        elif frame["type"] in TERMINAL:
            self.last = frame["response"]
            self.finish(_ending(self.last), _text(self.last))

    async def check(self, pick: Pick) -> None:
        """Raise Disagreement unless a whole second reading has the same events, and a poll the same response."""
        again = ResponsesReader(self.api_user, self.prompt, self.model, run_id=self.run_id)
        await again.insist(pick)
        if again.events[: len(self.events)] != self.events:
            pairs = zip(self.events, [*again.events, None], strict=False)
            one, other = next((one, other) for one, other in pairs if one != other)
            raise Disagreement(f"{self.run_id}: read again, {one} is {other}")
        if self.last and len(again.events) != len(self.events):
            raise Disagreement(f"{self.run_id}: there are events after the terminal one")
        polled = await self._poll(pick)
        if polled != again.last:
            raise Disagreement(f"{self.run_id}: the stream ends with {again.last}, a poll gives {polled}")

    async def _poll(self, pick: Pick) -> dict[str, Any]:
        while True:
            try:
                return await wire.call(pick(), "GET", self.path, secret=self.api_user.secret)
            except (wire.Cut, OSError):
                await asyncio.sleep(0.05)


class BackgroundReader(ResponsesReader):
    """It leaves at the first event, polls until the response is no longer queued, and reads the rest.

    So its first attempt returns before the end of the answer: the next one may be made elsewhere.
    """

    name = "background"

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._queued_since = 0.0
        self._begun = False

    async def begin(self, port: int, patience: float) -> None:
        self.leaves_early = True
        try:
            await self._create(port, patience, background=True)
        finally:
            self.leaves_early = False

    async def resume(self, port: int, patience: float) -> None:
        self._queued_since = self._queued_since or time.monotonic()
        while not self._begun:
            try:
                polled = await wire.call(port, "GET", self.path, secret=self.api_user.secret, patience=patience)
            except (wire.Cut, wire.Refused, OSError):
                self._queued_since = 0.0  # while the service is away, nothing can begin
                raise
            self._begun = polled["status"] != "queued"
            if not self._begun:
                if time.monotonic() > self._queued_since + QUEUED_SECONDS:
                    raise Disagreement(f"{self.run_id} is still queued after {QUEUED_SECONDS} s")
                await asyncio.sleep(0.05)
        await super().resume(port, patience)


def _ending(response: dict[str, Any]) -> str:
    match response["status"]:
        case "completed":
            return "complete"
        case "failed":
            return f"error:{response['error']['code']}"
        case status:
            return f"error:{status}"


def _text(response: dict[str, Any]) -> str:
    parts = [part for item in response["output"] for part in item.get("content", ())]
    return "".join([part["text"] for part in parts if part["type"] == "output_text"])


RESPONSE_READERS: tuple[type[Reader], ...] = tuple(
    each for each in (ResponsesReader, BackgroundReader) if each.dialect in DIALECTS
)
