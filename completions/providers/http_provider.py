"""What the providers of all HTTP APIs have in common: requests through the official client, answers read as raw bytes.

A parser interprets the bytes, `failures` the refusals. Nothing from prompts or answers is ever logged.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, ClassVar, Final

import httpx2

from completions.exceptions import OutputLimit, UpstreamInvalid, UpstreamStalled, UpstreamTimeout
from completions.providers.chunks import MAX_TEXT_CHARS
from completions.providers.clock import ContentClock
from completions.providers.connection import MAX_CONNECTIONS, RETRIES, Connection, attribution
from completions.providers.models import parse_models
from completions.providers.reading import BROKEN, Answer, drain, throttled
from completions.providers.sanitize import encode_json
from completions.providers.whole_answers import body_of, read_object
from completions.providers.wire_parser import MAX_RAW_BYTES, AnswerParser
from completions.types import Completion, CompletionRequest, ModelInfo, ProviderEvent, Wire
from completions.upstream_bodies import Body, with_contents
from foundation.internals.aiohttp_reads import reads_from

logger = logging.getLogger(__name__)

_GRACE: Final = 5.0  # how long to wait for the usage chunk of an answer that has its finish reasons


class HTTPProvider:
    """A `Provider` but for its API: subclasses make the bodies of requests, and parse those of answers.

    All durations are in seconds; `answer` bounds a reply that is not streamed.
    """

    path: ClassVar[str]
    """Where questions are sent, below the base URL."""
    parser: ClassVar[type[AnswerParser]]
    speaks_responses: bool

    def __init__(
        self,
        name: str,
        *,
        base_url: str,
        api_key: str = "",
        headers: Mapping[str, str] | None = None,
        app_title: str = "",
        app_url: str = "",
        connect: float = 5.0,
        first_byte: float = 60.0,
        idle: float = 45.0,
        answer: float = 600.0,
        listing: float = 10.0,
        retries: int = RETRIES,
        max_connections: int = MAX_CONNECTIONS,
        ca_file: str = "",
        proxy: str = "",
        takes_documents: bool = True,
        max_text: int = MAX_TEXT_CHARS,
        max_raw: int = MAX_RAW_BYTES,
    ) -> None:
        self.name = name
        self._line = Connection(
            name,
            base_url=base_url,
            api_key=api_key,
            headers={**attribution(base_url, app_title, app_url), **(headers or {})},
            connect=connect,
            retries=retries,
            max_connections=max_connections,
            ca_file=ca_file,
            proxy=proxy,
        )
        self.health = self._line.health
        self.takes_documents = takes_documents
        self._secrets = (api_key,)
        self._first_byte, self._idle, self._answer, self._listing = first_byte, idle, answer, listing
        self._max_text, self._max_raw = max_text, max_raw

    async def stream(
        self,
        request: CompletionRequest,
        *,
        ready: Callable[[], Awaitable[None]] | None = None,
        retry: bool = True,
    ) -> AsyncIterator[ProviderEvent]:
        """See `Provider.stream`. Before it raises ProviderError, it yields everything that arrived."""
        parser = self._parser()
        with ContentClock(self._first_byte) as clock:
            try:
                body = with_contents(self._body(request, stream=True), request.contents)
                async with self._asked(clock, self._first_byte, self.path, body, retry=retry) as answer:
                    if answer.is_event_stream:
                        relayed = self._events(parser, clock, answer, throttled(answer.response, ready))
                    else:
                        relayed = _at_once(parser, clock, await answer.whole(self._max_raw))
                    async with aclosing(relayed):
                        async for event in relayed:
                            yield event
                if parser.error:
                    raise parser.error
            except asyncio.CancelledError:
                if not clock.expired():
                    raise
                raise (UpstreamStalled() if parser.opened else UpstreamTimeout()) from None

    def _parser(self) -> AnswerParser:
        return self.parser(max_raw=self._max_raw, max_text=self._max_text, secrets=self._secrets)

    async def _events(
        self,
        parser: AnswerParser,
        clock: ContentClock,
        answer: Answer,
        throttle: Callable[[], Awaitable[None]] | None,
    ) -> AsyncGenerator[ProviderEvent, None]:
        began = finished = False
        steps = 0
        reads, first = answer.reads, answer.first
        while not parser.done and not parser.error:
            if throttle is not None and not first:
                await throttle()
            clock.reading()
            try:
                data, first = first or await anext(reads), b""
            except asyncio.CancelledError:
                # Every choice is finished: only the trailer is missing, so the answer is complete.
                if not parser.finished or not clock.expired():
                    raise
                events = parser.end()
            except (StopAsyncIteration, *BROKEN):
                events = parser.end()
            else:
                events = parser.feed(data)
            clock.paused()
            for event in events:
                yield event
            if parser.finished and not finished:
                finished = True
                clock.restart(min(self._idle, _GRACE))
            elif not began and parser.began:
                began = True
                clock.restart(self._idle)
            elif events or parser.steps > steps:
                clock.touch()
            steps = parser.steps
        if parser.noise:
            logger.info("upstream %s: %d events were no part of an answer", self.name, parser.noise)
        if parser.late_code:
            logger.warning("upstream %s: %s after the end of an answer", self.name, parser.late_code)
        if parser.error:
            raise parser.error
        await drain(reads)

    async def complete(self, request: CompletionRequest, *, retry: bool = True) -> Completion:
        """See `Provider.complete`. Raises ProviderError."""
        parser = self._parser()
        with ContentClock(self._answer) as clock:
            try:
                asked = with_contents(self._body(request, stream=False), request.contents)
                async with self._asked(clock, self._answer, self.path, asked, retry=retry) as answer:
                    if answer.is_event_stream:
                        clock.restart(self._first_byte)
                        async with aclosing(self._events(parser, clock, answer, None)) as events:
                            return Completion(body_of([event async for event in events]))
                    body = self._read(await answer.whole(self._max_raw))
            except asyncio.CancelledError:
                if not clock.expired():
                    raise
                raise (UpstreamStalled() if parser.opened else UpstreamTimeout()) from None
        contents = [choice["message"].get("content") for choice in body["choices"]]
        if any(content and len(content) > self._max_text for content in contents):
            raise OutputLimit()
        return Completion(body)

    async def embed(self, body: Wire) -> Wire:
        """Return the upstream's answer to a request for embeddings, unaltered. Raises ProviderError."""
        with ContentClock(self._answer) as clock:
            raw = await self._fetch(clock, self._answer, "/embeddings", encode_json(body), retry=True)
        answer = read_object(raw, *self._secrets)
        if not isinstance(answer.get("data"), list):
            raise UpstreamInvalid()
        return answer

    async def list_models(self) -> list[ModelInfo]:
        """See `Provider.list_models`. Raises ProviderError."""
        with ContentClock(self._listing) as clock:
            raw = await self._fetch(clock, self._listing, "/models", None, retry=False)
        return parse_models(raw, owned_by=self.name)

    async def close(self) -> None:
        """Release the connections."""
        await self._line.close()

    # --- what differs from API to API ------------------------------------------------------------

    def _body(self, request: CompletionRequest, *, stream: bool) -> bytes:
        """Return the body of a request for an answer."""
        raise NotImplementedError

    def _read(self, raw: bytes) -> dict[str, Any]:
        """Return the body of an answer that was not streamed as a `chat.completion`. Raises ProviderError."""
        raise NotImplementedError

    # --- requests ------------------------------------------------------------------------------

    async def _fetch(
        self, clock: ContentClock, deadline: float, path: str, body: bytes | None, *, retry: bool
    ) -> bytes:
        try:
            async with self._asked(clock, deadline, path, body, retry=retry) as answer:
                if answer.is_event_stream:
                    raise UpstreamInvalid()
                return await answer.whole(self._max_raw)
        except asyncio.CancelledError:
            if not clock.expired():
                raise
            raise UpstreamTimeout() from None

    @asynccontextmanager
    async def _asked(
        self, clock: ContentClock, within: float, path: str, body: Body | None, *, retry: bool
    ) -> AsyncGenerator[Answer]:
        """Send a request; give its answer, of which only the beginning is read."""
        clock.reading()
        response = await self._send(path, body, within=within, retry=retry)
        try:
            async with aclosing(reads_from(response)) as reads:
                yield await Answer.begun(response, reads)
                clock.paused()
        finally:
            await self._line.release(response)

    async def _send(self, path: str, body: Body | None, *, within: float, retry: bool) -> httpx2.Response:
        return await self._line.send(path, body, within=within, retry=retry)


async def _at_once(parser: AnswerParser, clock: ContentClock, raw: bytes) -> AsyncGenerator[ProviderEvent, None]:
    clock.paused()
    for event in parser.whole(raw):
        yield event
