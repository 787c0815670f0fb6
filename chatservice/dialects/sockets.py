"""What the websockets of all dialects share, from the handshake to the close, whatever their frames are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings

from accounts.callers import Principal
from accounts.credential_watch import Refusal, Watched, credential_watch
from completions.stream_limits import Release
from foundation.logs.context import current

SEND_SECONDS = 60.0
GOODBYE_SECONDS = 5.0
FLOOD = 10
"""This many times the allowed frames in one second is abuse, not haste."""


class SocketClosed(Exception):
    """The client has left, or its socket is being closed."""


class DialectSocket(AsyncWebsocketConsumer):  # type: ignore[misc]  # Channels has no types
    """A Channels consumer that counts against the limits, watches its credential, and closes once.

    Subclasses handle `connect` and `receive`; `too_slow` is the close code and reason for a client that does not read.
    """

    # No channel layer is used, because it would need a connection to Redis for each socket: everything goes through the
    # store.
    channel_layer_alias = ""
    too_slow: tuple[int, str]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.closed = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._release: Release | None = None
        self._watched: Watched | None = None
        self._second = self._count = 0

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        self._reading = asyncio.ensure_future(super().__call__(scope, receive, send))
        try:
            await asyncio.wait([self._reading, self._over], return_when=asyncio.FIRST_COMPLETED)
            if self.closed:
                await self._over  # the last frame and the close frame are still being sent
            elif not self._reading.cancelled():
                self._reading.result()
        finally:
            self.closed = True
            self._unwatch()
            if self._release is not None:
                self._release()
            self.stop()
            tasks = [*self._tasks, self._reading]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def dispatch(self, message: dict[str, Any]) -> None:
        # Channels' own method closes old database connections first, in a thread for each frame; none are held here.
        handler = getattr(self, message["type"].replace(".", "_"))
        await handler(message)

    def stop(self) -> None:
        """Stop what the subclass does only for this socket. Runs go on."""

    async def be_refused(self, refusal: Refusal) -> None:
        """Hang up: the socket's credential no longer admits it."""
        raise NotImplementedError

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` concurrently with the reading of frames, and cancel it when the socket ends."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def acquire(self, take: Callable[[Any], Release], who: Any) -> None:
        """Count this socket towards the limit of `who`, and of nobody else any more; raises TooManyRuns."""
        if self._release is not None:
            self._release()
        self._release = take(who)

    def watch(self, principal: Principal) -> None:
        """Call `be_refused` once the credential of `principal` no longer admits it."""
        current().note_caller(principal)
        self._unwatch()
        self._watched = credential_watch.begin(principal, self._notice_refusal)

    def count_frame(self) -> float:
        """Count a frame; return this second's count divided by LIMIT_WS_FRAMES_PER_SECOND: above 1 is too many."""
        second = int(time.monotonic())
        self._count = self._count + 1 if second == self._second else 1
        self._second = second
        limit: int = settings.LIMIT_WS_FRAMES_PER_SECOND
        return self._count / limit if limit else 0.0

    async def transmit(self, text: str) -> None:
        """Send a frame and wait while the client does not read; raises SocketClosed."""
        if self.closed:
            raise SocketClosed
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self.base_send({"type": "websocket.send", "text": text})
        except TimeoutError:
            # What the client missed is stored: it can return with its cursor.
            self.spawn(self.hang_up(*self.too_slow))
            raise SocketClosed from None
        except Exception as gone:
            raise SocketClosed from gone

    async def hang_up(self, code: int, reason: str = "", *, last: str | None = None) -> None:
        """Send the `last` frame, close, and end the socket's loop. Once this has begun, nothing else is sent."""
        if self.closed:
            return
        self.closed = True
        self.stop()
        if asyncio.current_task() is not self._reading:
            # Granian sends no close frame while a task waits for the client's next frame.
            self._reading.cancel()
            await asyncio.wait([self._reading])
        try:
            async with asyncio.timeout(GOODBYE_SECONDS):
                if last is not None:
                    await self.base_send({"type": "websocket.send", "text": last})
                close = {"type": "websocket.close", "code": code}
                await self.base_send({**close, "reason": reason} if reason else close)
        except Exception:  # noqa: S110  it is gone, or does not read: there is nothing to add
            pass
        if not self._over.done():
            self._over.set_result(None)

    def _notice_refusal(self) -> None:
        if not self.closed and self._watched is not None and self._watched.refusal is not None:
            self.spawn(self.be_refused(self._watched.refusal))

    def _unwatch(self) -> None:
        if self._watched is not None:
            credential_watch.end(self._watched)


async def nowhere(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Close a socket at a path that no dialect serves: without a route Channels would raise, which becomes a 500."""
    await receive()
    await send({"type": "websocket.close", "code": 4404})
