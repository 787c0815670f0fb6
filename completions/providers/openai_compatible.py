"""One upstream with OpenAI's chat completions API, called through the official client, its answer read as raw bytes.

`wire_parser` interprets the bytes, `failures` the refusals. Nothing from prompts or answers is ever logged.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final

import httpx2

from completions.exceptions import (
    OutputLimit,
    UpstreamInvalid,
    UpstreamStalled,
    UpstreamTimeout,
    UpstreamTruncated,
)
from completions.providers.chunks import MAX_TEXT_CHARS, stream_error
from completions.providers.clock import ContentClock
from completions.providers.connection import MAX_CONNECTIONS, RETRIES, Connection, attribution
from completions.providers.models import parse_models
from completions.providers.reading import BROKEN, drain, throttled
from completions.providers.sanitize import decode_json, encode_json
from completions.providers.wire_parser import MAX_RAW_BYTES, AnswerParser
from completions.types import Completion, CompletionRequest, ModelInfo, ProviderEvent, Wire
from foundation.internals.aiohttp_reads import reads_from

_GRACE: Final = 5.0  # how long to wait for the usage chunk of an answer that has its finish reasons


class OpenAICompatible:
    """A `Provider`. All durations are in seconds; `answer` bounds a reply that is not streamed."""

    def __init__(
        self,
        name: str,
        *,
        base_url: str,
        api_key: str = "",
        headers: Mapping[str, str] | None = None,
        app_title: str = "",
        app_url: str = "",
        usage_in_stream: bool = True,
        connect: float = 5.0,
        first_byte: float = 60.0,
        idle: float = 45.0,
        answer: float = 600.0,
        listing: float = 10.0,
        retries: int = RETRIES,
        max_connections: int = MAX_CONNECTIONS,
        ca_file: str = "",
        proxy: str = "",
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
        self._usage_in_stream = usage_in_stream
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
        parser = AnswerParser(max_raw=self._max_raw, max_text=self._max_text)
        with ContentClock(self._first_byte) as clock:
            response: httpx2.Response | None = None
            try:
                clock.reading()
                body = self._body(request, stream=True)
                response = await self._line.send("/chat/completions", body, within=self._first_byte, retry=retry)
                if not _is_event_stream(response):
                    events = parser.whole(await self._read(response))
                    clock.paused()
                    for event in events:
                        yield event
                else:
                    async with (
                        aclosing(reads_from(response)) as reads,
                        aclosing(self._events(parser, clock, reads, throttled(response, ready))) as relayed,
                    ):
                        async for event in relayed:
                            yield event
                if parser.error:
                    raise parser.error
            except asyncio.CancelledError:
                if not clock.expired():
                    raise
                raise (UpstreamStalled() if parser.opened else UpstreamTimeout()) from None
            finally:
                clock.paused()
                if response is not None:
                    await self._line.release(response)

    async def _events(
        self,
        parser: AnswerParser,
        clock: ContentClock,
        reads: AsyncIterator[bytes],
        throttle: Callable[[], Awaitable[None]] | None,
    ) -> AsyncGenerator[ProviderEvent, None]:
        opened = finished = False
        while not parser.done and not parser.error:
            if throttle is not None:
                await throttle()
            clock.reading()
            try:
                data = await anext(reads)
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
            elif not opened and parser.opened:
                opened = True
                clock.restart(self._idle)
            elif events:
                clock.touch()
        if parser.error:
            raise parser.error
        await drain(reads)

    async def complete(self, request: CompletionRequest, *, retry: bool = True) -> Completion:
        """See `Provider.complete`. Raises ProviderError."""
        with ContentClock(self._answer) as clock:
            asked = self._body(request, stream=False)
            raw = await self._fetch(clock, self._answer, "/chat/completions", asked, retry=retry)
        body = _json_object(raw)
        choices = body.get("choices")
        if body.get("error"):
            raise stream_error(body["error"])
        if not isinstance(choices, list):
            raise UpstreamInvalid()
        for choice in choices:
            if not isinstance(choice, dict):
                raise UpstreamInvalid()
            if choice.get("error") or choice.get("finish_reason") == "error":
                raise stream_error(choice.get("error"))
            message = choice.get("message")
            content = message.get("content") if isinstance(message, dict) else None
            if isinstance(content, str) and len(content) > self._max_text:
                raise OutputLimit()
        return Completion(body)

    async def embed(self, body: Wire) -> Wire:
        """Return the upstream's answer to a request for embeddings, unaltered. Raises ProviderError."""
        with ContentClock(self._answer) as clock:
            raw = await self._fetch(clock, self._answer, "/embeddings", encode_json(body), retry=True)
        answer = _json_object(raw)
        if answer.get("error"):
            raise stream_error(answer["error"])
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

    # --- requests ------------------------------------------------------------------------------

    def _body(self, request: CompletionRequest, *, stream: bool) -> bytes:
        body = {**request.parameters, "model": request.model, "messages": request.messages, "stream": stream}
        options = body.pop("stream_options", None)
        if stream and self._usage_in_stream:
            body["stream_options"] = {**(options if isinstance(options, Mapping) else {}), "include_usage": True}
        return encode_json(body)

    async def _fetch(
        self, clock: ContentClock, deadline: float, path: str, body: bytes | None, *, retry: bool
    ) -> bytes:
        response: httpx2.Response | None = None
        try:
            clock.reading()
            response = await self._line.send(path, body, within=deadline, retry=retry)
            if _is_event_stream(response):
                raise UpstreamInvalid()
            return await self._read(response)
        except asyncio.CancelledError:
            if not clock.expired():
                raise
            raise UpstreamTimeout() from None
        finally:
            clock.paused()
            if response is not None:
                await self._line.release(response)

    async def _read(self, response: httpx2.Response) -> bytes:
        """Return the whole JSON body. Raises UpstreamInvalid, UpstreamTruncated, OutputLimit."""
        if _media_type(response) not in ("application/json", "text/json"):
            raise UpstreamInvalid()
        parts, size = [], 0
        try:
            async with aclosing(reads_from(response)) as reads:
                async for data in reads:
                    size += len(data)
                    if size > self._max_raw:
                        raise OutputLimit()
                    parts.append(data)
        except BROKEN:
            raise UpstreamTruncated() from None
        return b"".join(parts)


def _media_type(response: httpx2.Response) -> str:
    if response.headers.get("content-encoding", "identity").lower() not in ("", "identity"):
        raise UpstreamInvalid()  # compression was not requested: a compressed body may be a decompression bomb
    media_type: str = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return media_type


def _is_event_stream(response: httpx2.Response) -> bool:
    return _media_type(response) == "text/event-stream"


def _json_object(raw: bytes) -> dict[str, Any]:
    try:
        body = decode_json(raw)
    except ValueError:
        raise UpstreamInvalid() from None
    if not isinstance(body, dict):
        raise UpstreamInvalid()
    return body
