"""Django's ASGI handler without the costs that a chat service would pay on every request.

The stock handler switches to a new thread twice per request for its signals, spools bodies to disk however large they
are, and starts two tasks to notice a disconnect. Here bodies are limited while they arrive, async views need no thread,
and only streams watch for a disconnect.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import weakref
from collections.abc import Iterator, Mapping
from typing import IO, Any

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async
from django.conf import settings
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.http import HttpResponseBase
from django.urls import set_script_prefix

from chatservice import cors, url_prefix
from chatservice.bodies import Embedded, Receive, Send, read_bounded, release
from chatservice.dialects.problems import BadRequest
from completions.services import is_draining
from files.embedded import arrived

LARGE_BODY_BYTES = 65_536
COME_BACK = [(b"retry-after", b"5"), (b"content-length", b"0"), (b"connection", b"close")]


class NoRoom(Exception):
    """More than MAX_ARRIVING_BYTES are arriving, or more than MAX_SPOOLED_BYTES of them are on disk."""


class Arrivals:
    """Counts the bytes of all bodies that are arriving: senders without a key can make the process hold them."""

    def __init__(self) -> None:
        self.in_memory = self.on_disk = 0

    @contextlib.contextmanager
    def counted(self) -> Iterator[Arrival]:
        """Yield what counts the bytes of one body; forget them at the end of the block."""
        arrival = Arrival(self)
        try:
            yield arrival
        finally:
            self.in_memory -= arrival.in_memory
            self.on_disk -= arrival.on_disk


class Arrival:
    """Counts the bytes of one body; raises NoRoom."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._all = arrivals
        self.in_memory = self.on_disk = 0

    def __call__(self, size: int) -> None:
        self.in_memory += size
        self._all.in_memory += size
        if 0 < settings.MAX_ARRIVING_BYTES < self._all.in_memory:
            raise NoRoom

    def spooled(self, size: int) -> None:
        self(-size)
        self.on_disk += size
        self._all.on_disk += size
        if 0 < settings.MAX_SPOOLED_BYTES < self._all.on_disk:
            raise NoRoom


class Turnstile:
    """Lets one task through in each turn of the event loop, so that other tasks' input and output happen in between.

    Otherwise a few large bodies that arrived at the same time would be read one after the other in a single turn.
    """

    def __init__(self) -> None:
        self._locks: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()

    async def turn(self) -> None:
        async with self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            await asyncio.sleep(0)


class ChatHandler(ASGIHandler):
    def __init__(self) -> None:
        super().__init__()
        self._large_bodies = Turnstile()
        self._arrivals = Arrivals()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        url_prefix.make_full(scope)
        context = ThreadSensitiveContext()
        try:
            async with context:  # leaving the block waits for the thread of a synchronous view
                await self._respond(context, scope, receive, send)
        except asyncio.CancelledError:
            # The drain is over and the server closes the connection. The rest of the answer is stored.
            if not is_draining():
                raise

    async def _respond(
        self, context: ThreadSensitiveContext, scope: dict[str, Any], receive: Receive, send: Send
    ) -> None:
        refusal = None
        embedded: Embedded = {}
        body: IO[bytes]
        try:
            with self._arrivals.counted() as count:
                body, embedded = await read_bounded(scope, receive, count)
        except RequestAborted:
            return
        except BadRequest as bad:
            body, refusal = io.BytesIO(), bad.problem
        except (NoRoom, OSError):  # the disk may be full
            await _refuse_for_now(scope, send)
            return
        except asyncio.CancelledError:
            if is_draining():
                await _refuse_for_now(scope, send)
            raise
        if isinstance(body, io.BytesIO) and body.getbuffer().nbytes > LARGE_BODY_BYTES:
            await self._large_bodies.turn()
        set_script_prefix(get_script_prefix(scope))
        request, error_response = self.create_request(scope, body)
        if request is None:
            await self.send_response(error_response, send)  # type: ignore[arg-type]  # it is one or the other
            return
        arrived.set(embedded)
        # Both are ours, on Django's request. The view answers a bad body in its own shape, once it knows the caller.
        # Only a view that wants to know listens for a disconnect.
        request.body_refusal = refusal  # type: ignore[attr-defined]
        request.until_left = functools.partial(_until_disconnect, receive)  # type: ignore[attr-defined]
        response = await self.run_get_response(request)
        try:
            if response.streaming:
                await self._stream(response, receive, send)
            else:
                await self.send_response(response, send)
        finally:
            for each in (body, *(content.content for content in embedded.values())):
                release(each)
            # An exception may keep the request until the collector runs, and the body is the large part of it.
            request.__dict__.pop("_body", None)
            # A thread was created only if a synchronous view ran; its connection is closed there.
            if context in SyncToAsync.context_to_thread_executor:
                await sync_to_async(response.close, thread_sensitive=True)()
            else:
                response.close()

    async def _stream(self, response: HttpResponseBase, receive: Receive, send: Send) -> None:
        """Send a stream until it ends or its reader leaves."""
        sending = asyncio.create_task(self.send_response(response, send))
        listening = asyncio.create_task(_until_disconnect(receive))
        try:
            await asyncio.wait({sending, listening}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (listening, sending):
                task.cancel()
            results = await asyncio.gather(sending, listening, return_exceptions=True)
        if isinstance(results[0], Exception) and not isinstance(results[0], (OSError, RequestAborted)):
            raise results[0]


async def _refuse_for_now(scope: Mapping[str, Any], send: Send) -> None:
    origin = next((value.decode("latin1") for name, value in scope["headers"] if name == b"origin"), "")
    allowed = [(name.lower().encode(), value.encode()) for name, value in cors.headers_for(origin).items()]
    await send({"type": "http.response.start", "status": 503, "headers": COME_BACK + allowed})
    await send({"type": "http.response.body"})


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
