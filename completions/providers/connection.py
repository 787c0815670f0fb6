"""The connection to one upstream: sends requests, retries them if nothing can have been billed, checks the status."""

from __future__ import annotations

import asyncio
import functools
import logging
import random
import ssl
from collections.abc import Mapping
from contextlib import aclosing
from typing import Final
from urllib.parse import urlsplit

import httpx2
from openai import AsyncOpenAI, DefaultAioHttpClient

from completions.exceptions import ProviderError, UpstreamUnauthorized, UpstreamUnavailable
from completions.providers.failures import broken_connection, refusal
from completions.providers.health import Health
from completions.providers.reading import BROKEN
from completions.signals import upstream_retried
from completions.upstream_bodies import Body
from foundation.internals.aiohttp_reads import reads_from
from foundation.logs.context import current

logger = logging.getLogger(__name__)

RETRIES: Final = 3
MAX_WAIT: Final = 20.0  # in seconds: if an upstream asks for a longer wait, the client gets the error
MAX_CONNECTIONS: Final = 4096
_BACKOFF: Final = 0.2
_ERROR_BODY_BYTES: Final = 1 << 16


@functools.cache
def _tls(ca_file: str) -> ssl.SSLContext:
    """Return the TLS context, once per process: loading the certificates takes tens of milliseconds."""
    context: ssl.SSLContext = httpx2.create_ssl_context(trust_env=False)
    if ca_file:
        context.load_verify_locations(cafile=ca_file)
    return context


class Connection:
    """All requests to one upstream, from one event loop. Durations are in seconds.

    `connect` bounds the making of a connection, and the wait for a free one of `max_connections`.
    `ca_file` (PEM) is trusted besides the public authorities; `proxy` is the URL of an HTTP proxy.
    """

    def __init__(
        self,
        name: str,
        *,
        base_url: str,
        api_key: str = "",
        headers: Mapping[str, str] | None = None,
        connect: float = 5.0,
        retries: int = RETRIES,
        max_connections: int = MAX_CONNECTIONS,
        ca_file: str = "",
        proxy: str = "",
    ) -> None:
        self.name = name
        self.health = Health(name)
        self._api_key, self._retries, self._patience = api_key, retries, connect
        self._free = asyncio.Semaphore(max_connections)
        self._http = DefaultAioHttpClient(
            follow_redirects=False,
            trust_env=False,
            verify=_tls(ca_file),
            proxy=proxy or None,
            # Reads have no timeout of their own: keep-alive comments would reset it. `ContentClock` ignores them.
            timeout=httpx2.Timeout(None, connect=connect, pool=connect),
            # Less than the 5 s after which uvicorn and node close idle connections: a request must not race with that.
            limits=httpx2.Limits(max_connections=max_connections, keepalive_expiry=4.0),
            event_hooks={"response": [self._check_status]},
        )
        self._timeout = self._http.timeout.as_dict()
        self._client = AsyncOpenAI(
            base_url=base_url,
            api_key=api_key or "none",
            max_retries=0,
            http_client=self._http,
            default_headers={"Accept-Encoding": "identity", **(headers or {})},
        )

    async def send(self, path: str, body: Body | None, *, within: float, retry: bool = True) -> httpx2.Response:
        """Return the unread 2xx response, which the caller must give back to `release`; raises ProviderError.

        A request is sent again only if it is certain that nothing was billed, and if there is time for it in `within`
        seconds.
        """
        loop = asyncio.get_running_loop()
        give_up = loop.time() + within / 2  # the last attempt must have time to be answered
        attempt = 0
        while True:
            try:
                return await self._send_once(path, body)
            except ProviderError as error:
                failure = error
            wait = max(_BACKOFF * 2**attempt, float(failure.retry_after or 0))
            wait += random.uniform(0, _BACKOFF)  # noqa: S311 - jitter
            attempt += 1
            if (
                not (retry and _is_passing(failure))
                or attempt > self._retries
                or self.health.is_open
                or (failure.retry_after or 0) > MAX_WAIT
                or loop.time() + wait > give_up
            ):
                raise failure from None
            logger.info("upstream %s: %s, try %d in %.1f s", self.name, failure.code, attempt + 1, wait)
            upstream_retried.send_robust(None, upstream=self.name, error_code=failure.code)
            await asyncio.sleep(wait)

    async def release(self, response: httpx2.Response) -> None:
        """Close a response, whether it was read or not."""
        try:
            await response.aclose()
        finally:
            self._free.release()

    async def close(self) -> None:
        await self._client.close()

    async def _send_once(self, path: str, body: Body | None) -> httpx2.Response:
        await self._take_connection()
        try:
            self.health.admit()
            response = await self._request(path, body)
            self.health.reached()
            return response
        except BaseException:
            self._free.release()
            raise

    async def _take_connection(self) -> None:
        if not self._free.locked():
            await self._free.acquire()
            return
        try:
            async with asyncio.timeout(self._patience):
                await self._free.acquire()
        except TimeoutError:
            raise UpstreamUnavailable("All connections to the model's server are in use.", retry_after=1) from None

    async def _request(self, path: str, body: Body | None) -> httpx2.Response:
        # Use the client's headers, connections and TLS, without the models it would build for each request.
        headers = self._headers.copy()
        if body is not None:
            headers["Content-Length"] = str(len(body))
        if traceparent := current().traceparent:
            headers["traceparent"] = traceparent
        request = httpx2.Request("GET" if body is None else "POST", self._url(path), headers=headers, content=body)
        request.extensions["timeout"] = self._timeout
        try:
            return await self._http.send(request, stream=True)
        except ProviderError:
            self.health.reached()
            raise
        except BROKEN as error:
            failure = broken_connection(error)
            (self.health.unreachable if failure.unbilled else self.health.reached)()
            raise failure from None
        except BaseException:
            self.health.abandoned()
            raise

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
        """Raise for an error status before the client library sees it: it would read the whole body, and quote it."""
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
                pass  # the status alone is enough
        raise refusal(response.status_code, response.headers, body, self._api_key)


def _is_passing(failure: ProviderError) -> bool:
    """Tell whether the same request may succeed in a moment, and certainly cost nothing."""
    return failure.unbilled and not isinstance(failure, UpstreamUnauthorized | UpstreamUnavailable)


def attribution(base_url: str, app_title: str, app_url: str) -> dict[str, str]:
    """Return OpenRouter's headers, only for OpenRouter; X-Title is the old name of X-OpenRouter-Title."""
    host = urlsplit(base_url).hostname or ""
    if host != "openrouter.ai" and not host.endswith(".openrouter.ai"):
        return {}
    title = app_title.encode("ascii", "replace").decode()
    named = {"HTTP-Referer": app_url, "X-OpenRouter-Title": title, "X-Title": title}
    return {key: value for key, value in named.items() if value}
