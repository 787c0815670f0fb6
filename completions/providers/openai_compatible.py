"""One upstream that speaks OpenAI's chat completions, through the official client, read as raw bytes.

What the bytes mean is `wire_parser`; what a refusal means is `failures`. Nothing said is ever logged.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import random
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
from openai import AsyncOpenAI, DefaultAioHttpClient

from completions.exceptions import (
    OutputLimit,
    ProviderError,
    UpstreamInvalid,
    UpstreamStalled,
    UpstreamTimeout,
    UpstreamTruncated,
)
from completions.providers.chunks import MAX_TEXT_CHARS, stream_error
from completions.providers.clock import ContentClock
from completions.providers.failures import broken_connection, refusal
from completions.providers.models import parse_models
from completions.providers.reading import BROKEN, drain, reads_from, throttled
from completions.providers.sanitize import decode_json, encode_json
from completions.providers.wire_parser import MAX_RAW_BYTES, AnswerParser
from completions.types import Completion, CompletionRequest, ModelInfo, ProviderEvent

logger = logging.getLogger(__name__)

RETRY_BUDGET: Final = 5.0  # seconds, all tries and waits together
_BACKOFF: Final = 0.2
_ERROR_BODY_BYTES: Final = 1 << 16
_GRACE: Final = 5.0  # for the usage chunk of an answer that has its finish reasons


@functools.cache
def _tls() -> ssl.SSLContext:
    """Loading the certificates takes tens of milliseconds: once per process."""
    return httpx2.create_ssl_context(trust_env=False)


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
        retries: int = 2,
        max_text: int = MAX_TEXT_CHARS,
        max_raw: int = MAX_RAW_BYTES,
    ) -> None:
        self.name = name
        self._api_key = api_key
        self._usage_in_stream = usage_in_stream
        self._first_byte, self._idle, self._answer, self._listing = first_byte, idle, answer, listing
        self._retries = retries
        self._max_text, self._max_raw = max_text, max_raw
        http_client = DefaultAioHttpClient(
            follow_redirects=False,
            trust_env=False,
            verify=_tls(),
            # Reads have no timeout of their own: keep-alive comments would reset it, `ContentClock` is not fooled.
            timeout=httpx2.Timeout(None, connect=connect, pool=connect),
            # Shorter than the 5 s after which uvicorn and node close: a request must not race with that.
            limits=httpx2.Limits(max_connections=4096, keepalive_expiry=4.0),
            event_hooks={"response": [self._check_status]},
        )
        self._http = http_client
        self._timeout = http_client.timeout.as_dict()
        self._client = AsyncOpenAI(
            base_url=base_url,
            api_key=api_key or "none",
            max_retries=0,
            http_client=http_client,
            default_headers={
                "Accept-Encoding": "identity",
                **_attribution(base_url, app_title, app_url),
                **(headers or {}),
            },
        )

    async def stream(
        self, request: CompletionRequest, *, ready: Callable[[], Awaitable[None]] | None = None
    ) -> AsyncIterator[ProviderEvent]:
        """See `Provider.stream`. Raises ProviderError after everything that arrived before it."""
        parser = AnswerParser(max_raw=self._max_raw, max_text=self._max_text)
        with ContentClock(self._first_byte) as clock:
            response: httpx2.Response | None = None
            try:
                clock.reading()
                response = await self._send("/chat/completions", self._body(request, stream=True), self._first_byte)
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
                    await response.aclose()

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
                # Every choice is finished: only the trailer is missing, and the answer is whole.
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

    async def complete(self, request: CompletionRequest) -> Completion:
        """See `Provider.complete`. Raises ProviderError."""
        with ContentClock(self._answer) as clock:
            raw = await self._fetch(clock, self._answer, "/chat/completions", self._body(request, stream=False))
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

    async def list_models(self) -> list[ModelInfo]:
        """See `Provider.list_models`. Raises ProviderError."""
        with ContentClock(self._listing) as clock:
            return parse_models(await self._fetch(clock, self._listing, "/models", None), owned_by=self.name)

    async def close(self) -> None:
        """Release the connections."""
        await self._client.close()

    # --- requests ------------------------------------------------------------------------------

    def _body(self, request: CompletionRequest, *, stream: bool) -> bytes:
        body = {**request.parameters, "model": request.model, "messages": request.messages, "stream": stream}
        options = body.pop("stream_options", None)
        if stream and self._usage_in_stream:
            body["stream_options"] = {**(options if isinstance(options, Mapping) else {}), "include_usage": True}
        return encode_json(body)

    async def _fetch(self, clock: ContentClock, deadline: float, path: str, body: bytes | None) -> bytes:
        response: httpx2.Response | None = None
        try:
            clock.reading()
            response = await self._send(path, body, deadline)
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
                await response.aclose()

    async def _send(self, path: str, body: bytes | None, deadline: float) -> httpx2.Response:
        """Send, again only while nothing can have been billed, and return the unread 2xx response."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + min(RETRY_BUDGET, deadline)
        for attempt in range(self._retries + 1):
            wait = _BACKOFF * 2**attempt
            try:
                return await self._send_once(path, body)
            except ProviderError as error:
                failure: ProviderError = error
                unbilled = error.retry_after is not None
                wait = max(wait, float(error.retry_after or 0))
            except BROKEN as error:
                failure, unbilled = broken_connection(error)
            wait += random.uniform(0, _BACKOFF)  # noqa: S311 - jitter
            if not unbilled or attempt == self._retries or loop.time() + wait > give_up:
                raise failure from None
            logger.info("upstream %s: %s, try %d in %.1f s", self.name, failure.code, attempt + 2, wait)
            await asyncio.sleep(wait)
        raise AssertionError("unreachable")

    async def _send_once(self, path: str, body: bytes | None) -> httpx2.Response:
        # The client's headers, connections and TLS, without the models it would build around each request.
        headers = self._headers.copy()
        if body is not None:
            headers["Content-Length"] = str(len(body))
        request = httpx2.Request("GET" if body is None else "POST", self._url(path), headers=headers, content=body)
        request.extensions["timeout"] = self._timeout
        return await self._http.send(request, stream=True)

    @functools.cached_property
    def _headers(self) -> httpx2.Headers:
        headers = {name: value for name, value in self._client.default_headers.items() if isinstance(value, str)}
        if self._api_key:  # a local server needs none
            headers["Authorization"] = f"Bearer {self._api_key}"
        return httpx2.Headers({**headers, "Host": self._client.base_url.netloc.decode("ascii")})

    @functools.cache  # noqa: B019  two paths, for as long as the provider
    def _url(self, path: str) -> httpx2.URL:
        return self._client.base_url.join(path.removeprefix("/"))

    async def _check_status(self, response: httpx2.Response) -> None:
        """Before the client sees the response: its own handling reads error bodies whole and quotes them."""
        if 200 <= response.status_code < 300:
            return
        body = b""
        if 400 <= response.status_code < 500 and "content-encoding" not in response.headers:
            try:
                async with aclosing(reads_from(response)) as reads:
                    async for data in reads:
                        body += data
                        if len(body) > _ERROR_BODY_BYTES:
                            break
            except BROKEN:
                pass  # the status alone says enough
        raise refusal(response.status_code, response.headers, body, self._api_key)

    async def _read(self, response: httpx2.Response) -> bytes:
        """The whole JSON body. Raises UpstreamInvalid, UpstreamTruncated, OutputLimit."""
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
        raise UpstreamInvalid()  # we asked for none: what comes compressed may be a bomb
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


def _attribution(base_url: str, app_title: str, app_url: str) -> dict[str, str]:
    """OpenRouter's headers, and only for OpenRouter; X-Title is the old name of X-OpenRouter-Title."""
    host = urlsplit(base_url).hostname or ""
    if host != "openrouter.ai" and not host.endswith(".openrouter.ai"):
        return {}
    title = app_title.encode("ascii", "replace").decode()
    named = {"HTTP-Referer": app_url, "X-OpenRouter-Title": title, "X-Title": title}
    return {key: value for key, value in named.items() if value}
