"""Clients that ask once, are cut off, and resume: one for each surface that streams over HTTP.

`attempt` uses one connection: it starts or resumes the answer, and returns at the answer's end, or where this client
leaves. A broken connection raises wire.Cut or OSError; the next attempt resumes after the received text.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, ClassVar

from chatservice.dialects import DIALECTS
from tests.chaos import wire
from tests.chaos.cluster import ApiUser

GONE_FOR_NOW = (429, 503)
Pick = Callable[[], int]


class Disagreement(Exception):
    """The service contradicted itself."""


class Reader:
    """A client's state for one answer. `key` makes a repeated request the same question."""

    dialect: ClassVar[str] = ""
    name: ClassVar[str] = ""
    resumes: ClassVar[bool] = True
    untold = False
    """Whether this client read its answer from the list of messages, which does not say how it ended."""

    def __init__(self, api_user: ApiUser, prompt: str, model: str, *, key: str = "", run_id: str = "") -> None:
        self.api_user, self.prompt, self.model = api_user, prompt, model
        self.key = key or f"key {prompt}".replace(" ", "-")
        self.run_id = run_id
        self.text = ""
        self.cursor = ""
        self.ended = ""
        self.error = ""
        self.acknowledged = bool(run_id)
        self.got = self.refused = 0
        self.raw = bytearray()

    async def prepare(self, port: int) -> None:
        """Prepare whatever the question needs, such as a conversation."""

    async def prepared(self, pick: Pick) -> None:
        """Call `prepare` at one process after another until it succeeds."""
        while True:
            try:
                return await self.prepare(pick())
            except (wire.Cut, OSError, wire.Refused):
                await asyncio.sleep(0.05)

    async def attempt(self, port: int, *, patience: float = wire.PATIENCE) -> None:
        try:
            if self.run_id and self.resumes:
                await self.resume(port, patience)
            else:
                self.forget()
                await self.begin(port, patience)
        except wire.Refused as refused:
            if refused.status in GONE_FOR_NOW or refused.is_from_proxy:
                raise
            self.finish(f"error:{refused.status}")
            self.error = refused.text

    async def begin(self, port: int, patience: float) -> None:
        raise NotImplementedError

    async def resume(self, port: int, patience: float) -> None:
        raise NotImplementedError

    async def insist(self, pick: Pick, *, timeout: float = 60.0, patience: float = wire.PATIENCE) -> int:
        """Reconnect to the ports that `pick` returns until the answer is over; return the number of breaks."""
        broken = 0
        async with asyncio.timeout(timeout):
            while not self.ended:
                try:
                    await self.attempt(pick(), patience=patience)
                except (wire.Cut, OSError):
                    broken += 1
                    await asyncio.sleep(0.05)
                except wire.Refused as refused:
                    self.refused += 1
                    if not refused.says_when:
                        raise Disagreement(f"refused without saying when to come back: {refused}") from None
                    await asyncio.sleep(0.05)
        return broken

    async def check(self, pick: Pick) -> None:
        """Raise Disagreement if the service does not repeat what this client received."""

    def forget(self) -> None:
        """Forget what was received, because the answer is read from its start again."""
        self.text = self.cursor = ""

    def finish(self, how: str, whole: str | None = None) -> None:
        if self.ended:
            raise Disagreement(f"ended twice: {self.ended}, then {how}")
        if whole is not None and whole != self.text:
            raise Disagreement(f"the last frame has {len(whole)} characters, those before it {len(self.text)}")
        self.ended = how

    def _named(self, answer: wire.Answer) -> None:
        run_id = answer.headers.get("x-run-id", "")
        if self.run_id and run_id and run_id != self.run_id:
            # The earlier answer ended before any text reached this client.
            self.forget()
        self.run_id = run_id or self.run_id
        self.acknowledged = True


class EventReader(Reader):
    """For the surfaces with server-sent events. While `leaves_early`, the client leaves at the first event."""

    leaves_early = False

    async def _read(self, port: int, method: str, path: str, patience: float, **options: Any) -> None:
        if self.cursor:
            options["last_event_id"] = self.cursor
        asking = wire.request(port, method, path, secret=self.api_user.secret, patience=patience, **options)
        async with asking as answer:
            self._named(answer)
            try:
                async for event in answer.events():
                    self.take(event)
                    if event.id:
                        self.cursor = event.id
                    if self.leaves_early:
                        return
            finally:
                self.got += answer.got
                self.raw += answer.raw
            self.at_the_end(answer)

    def take(self, event: wire.Event) -> None:
        raise NotImplementedError

    def at_the_end(self, answer: wire.Answer) -> None:
        if not self.ended:
            raise Disagreement("the stream ended without a terminal event")


class ChatV1Reader(EventReader):
    dialect = name = "chat_v1"

    async def begin(self, port: int, patience: float) -> None:
        body = {"content": self.prompt, "model": self.model}
        path = "/v1/chat/conversations/stream"
        await self._read(port, "POST", path, patience, body=body, idempotency_key=self.key)

    async def resume(self, port: int, patience: float) -> None:
        await self._read(port, "GET", f"/v1/chat/runs/{self.run_id}/stream", patience)

    def take(self, event: wire.Event) -> None:
        if event.data == "[DONE]":
            return
        frame = json.loads(event.data)
        match frame["type"]:
            case "ai_chunk":
                self.text += frame["data"]
            case "resync":
                self.text = frame["data"]
            case "ai_complete":
                self.finish(frame["data"]["status"], frame["data"]["content"])
            case "error":
                self.finish(f"error:{frame['data']['code']}")


class ResourcesReader(EventReader):
    dialect = name = "resources"
    conversation_id = ""

    async def prepare(self, port: int) -> None:
        made = await wire.call(port, "POST", "/conversations", secret=self.api_user.secret, body={})
        self.conversation_id = made["id"]
        said = {"role": "user", "content": self.prompt}
        path = f"/conversations/{self.conversation_id}/messages"
        await wire.call(port, "POST", path, secret=self.api_user.secret, body=said)

    async def begin(self, port: int, patience: float) -> None:
        body = {"model": self.model, "stream": True}
        path = f"/conversations/{self.conversation_id}/messages:complete"
        await self._read(port, "POST", path, patience, body=body, idempotency_key=self.key)

    async def resume(self, port: int, patience: float) -> None:
        await self._read(port, "GET", f"/runs/{self.run_id}/stream", patience)

    def take(self, event: wire.Event) -> None:
        if event.data == "[DONE]":
            return
        frame = json.loads(event.data)
        if "error" in frame:
            return self.finish(f"error:{frame['error']['code']}")
        choice = frame["choices"][0]
        text = choice["delta"]["content"]
        self.text = text if event.name == "resync" else self.text + text
        if choice["finish_reason"]:
            self.finish("complete")


class ChatReader(EventReader):
    """Like a browser's EventSource: it reconnects to the same address until it gets a 204."""

    dialect = name = "chat"
    conversation_id = ""

    async def prepare(self, port: int) -> None:
        made = await wire.call(port, "GET", "/chat/conversation", secret=self.api_user.secret)
        self.conversation_id = made.get("conversationId") or made.get("conversation_id") or made["id"]
        path = f"/chat/conversation/{self.conversation_id}/message"
        await wire.call(port, "POST", path, secret=self.api_user.secret, body={"content": self.prompt})

    async def begin(self, port: int, patience: float) -> None:
        path = f"/chat/conversation/{self.conversation_id}/stream?model={self.model}"
        await self._read(port, "GET", path, patience)
        if self.ended == "complete" and not self.cursor:
            # It got 204 before it had a cursor: the document says to read the answer from the list of messages.
            self.ended = ""
            path = f"/chat/conversation/{self.conversation_id}/messages"
            said = await wire.call(port, "GET", path, secret=self.api_user.secret)
            self.untold = True
            self.text = said[-1]["content"]
            self.finish("complete")

    resume = begin

    def take(self, event: wire.Event) -> None:
        match event.name:
            case "error":
                self.finish(f"error:{json.loads(event.data)['code']}")
            case "resync":
                self.text = event.data
            case "message":
                self.text += event.data

    def at_the_end(self, answer: wire.Answer) -> None:
        if not self.ended:
            self.finish("complete")


class OpenAIReader(EventReader):
    """It has no cursor: the same question with the same key starts the stream again, with the same text."""

    dialect = name = "openai_v1"
    resumes = False

    @property
    def content(self) -> Any:
        return self.prompt

    async def begin(self, port: int, patience: float) -> None:
        self._shown, self.text = self.text, ""
        body = {"model": self.model, "stream": True, "messages": [{"role": "user", "content": self.content}]}
        await self._read(port, "POST", "/v1/chat/completions", patience, body=body, idempotency_key=self.key)

    def take(self, event: wire.Event) -> None:
        if event.data == "[DONE]":
            return
        frame = json.loads(event.data)
        if "error" in frame:
            return self.finish(f"error:{frame['error']['code']}")
        for choice in frame["choices"]:
            self.text += choice["delta"].get("content") or ""
            if choice["finish_reason"]:
                self.finish("complete")


HTTP_READERS: tuple[type[Reader], ...] = tuple(
    each for each in (ChatV1Reader, ResourcesReader, ChatReader, OpenAIReader) if each.dialect in DIALECTS
)
