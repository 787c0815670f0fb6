"""The websocket: one socket carries many conversations. Who it is, how much it may say, when it ends.

What it may ask for is in websocket_session.py, the words in client_frames.py and frames.py, the
protocol in WEBSOCKET.md.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings

from accounts.database import in_database_thread
from accounts.principal import NotAdmitted, Principal, TooManyFailures, guests_admitted
from accounts.websocket_auth import (
    SUBPROTOCOL,
    caller_of_scope,
    credential_watch,
    has_credentials_in_query,
    offers_credentials,
    principal_of_frame,
    principal_of_scope,
)
from completions.client_frames import Auth, BadFrame, ClientFrame, read_frame
from completions.frames import encode_frame, error_data
from completions.websocket_session import Session, SocketClosed

logger = logging.getLogger(__name__)

AUTH_SECONDS = 5.0
SEND_SECONDS = 60.0
GOODBYE_SECONDS = 5.0
QUEUE = 16
FLOOD = 10
"""So many times the allowed frames in one second are abuse, not haste."""

# Of an application's own: Daphne refuses to send most of the protocol's.
UNAUTHORIZED, TOO_SLOW, TOO_MANY, FAILED = 4401, 4408, 4429, 4500


class CompletionConsumer(AsyncWebsocketConsumer):
    """Frames are read into a short queue; each answer is told in a task of its own and holds up nothing."""

    # Everything goes by the store; a layer would cost a connection to Redis for each socket.
    channel_layer_alias = ""

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        self._session: Session | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._queue: asyncio.Queue[ClientFrame] = asyncio.Queue(QUEUE)
        self._closed = False
        self._over = asyncio.get_running_loop().create_future()
        self._first = True
        self._second = 0
        self._count = 0
        self._unwatch: Callable[[], None] | None = None
        self._reading = asyncio.ensure_future(super().__call__(scope, receive, send))
        try:
            await asyncio.wait([self._reading, self._over], return_when=asyncio.FIRST_COMPLETED)
            if self._closed:
                await self._over  # somebody is still saying goodbye
            elif not self._reading.cancelled():
                self._reading.result()
        finally:
            self._closed = True
            self._let_go()
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def dispatch(self, message: dict[str, Any]) -> None:
        # Channels' own closes old database connections first, which is a thread for each frame; none is held here.
        handler = getattr(self, message["type"].replace(".", "_"))
        await handler(message)

    async def connect(self) -> None:
        # Accepted first, whoever it is: a browser shows its page no reason for a refused handshake.
        offered = self.scope.get("subprotocols") or ()
        await self.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
        if has_credentials_in_query(self.scope):
            message = "Never put a key into the URL: use the Authorization header, a subprotocol or an auth frame."
            await self._hang_up(UNAUTHORIZED, error_data("credentials_in_query", message))
        elif offers_credentials(self.scope) or guests_admitted(caller_of_scope(self.scope)):
            await self._admit(principal_of_scope, self.scope)
        else:
            self._spawn(self._expect_auth())

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if self._closed or not await self._in_time():
            return
        first, self._first = self._first, False
        try:
            frame = read_frame(text_data)
        except BadFrame as bad:
            data = error_data(bad.code, bad.message)
            if bad.close is not None or self._session is None:
                await self._hang_up(bad.close or UNAUTHORIZED, data, bad.frame_id)
            else:
                await self._say(encode_frame("error", data, frame_id=bad.frame_id))
            return
        if isinstance(frame, Auth):
            await self._authenticate(frame, first)
        elif self._session is None:
            data = error_data("unauthorized", 'Say who you are first: {"type": "auth", "key": "..."}.')
            await self._hang_up(UNAUTHORIZED, data, frame.id)
        else:
            # While it is full nothing is read, and the client's own buffers fill.
            await self._queue.put(frame)

    # --- who it is

    async def _admit(self, resolve: Callable[..., Principal], *arguments: Any, frame_id: str | None = None) -> None:
        """Begin a session for whom `resolve` names; otherwise hang up."""
        try:
            principal = await in_database_thread(resolve, *arguments)
        except TooManyFailures as refusal:
            data = error_data("rate_limit_exceeded", refusal.message, refusal.retry_after)
            await self._hang_up(TOO_MANY, data, frame_id)
        except NotAdmitted as refusal:
            await self._hang_up(UNAUTHORIZED, error_data("unauthorized", refusal.message), frame_id)
        except Exception as error:
            logger.error("websocket: nobody could be admitted (%s)", type(error).__name__)
            await self._hang_up(FAILED, error_data("internal_error", "The service failed. It is not your fault."))
        else:
            if self._session is None:
                self._spawn(self._work())
            if self._unwatch is not None:  # of the session that the key takes the place of
                self._unwatch()
            self._session = Session(principal, self.transmit)
            if principal.credential is not None:
                self._unwatch = credential_watch.watch(principal.credential, self._key_is_gone)

    async def _authenticate(self, frame: Auth, first: bool) -> None:
        """Take the key in a socket's first frame; it makes its user of a guest, a signed-in browser, or nobody yet."""
        if self._session is not None and not (first and self._session.principal.key_id is None):
            message = "This socket knows who you are. A key may only come in the first frame."
            await self._say(encode_frame("error", error_data("already_authenticated", message), frame_id=frame.id))
            return
        await self._admit(principal_of_frame, self.scope, frame.key, frame_id=frame.id)
        if self._session is not None and not self._closed:
            who = self._session.principal
            data = {"user_id": who.user_id, "username": who.username}
            await self._say(encode_frame("authenticated", data, frame_id=frame.id))

    async def _expect_auth(self) -> None:
        await asyncio.sleep(AUTH_SECONDS)
        if self._session is None:
            message = "A key is needed: by Authorization header, subprotocol or a first frame."
            await self._hang_up(UNAUTHORIZED, error_data("unauthorized", message))

    def _key_is_gone(self) -> None:
        if not self._closed:
            data = error_data("unauthorized", "This key is no longer valid.")
            self._spawn(self._hang_up(UNAUTHORIZED, data))

    # --- how much it may say

    async def _in_time(self) -> bool:
        """Count a frame; tell whether it is within the limit of its second."""
        limit = settings.LIMIT_WS_FRAMES_PER_SECOND
        if not limit:
            return True
        second = int(time.monotonic())
        self._count = self._count + 1 if second == self._second else 1
        self._second = second
        if self._count <= limit:
            return True
        data = error_data("rate_limit_exceeded", f"At most {limit} frames a second.", 1)
        if self._count > limit * FLOOD:
            await self._hang_up(TOO_MANY, data)
        else:
            await self._say(encode_frame("error", data))
        return False

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self) -> None:
        """Take one frame after the other, as they came: a later one may mean to undo an earlier one."""
        while True:
            frame = await self._queue.get()
            if self._session is not None:
                await self._session.handle(frame)

    # --- saying, and ending

    async def transmit(self, text: str) -> None:
        """Send a frame, waiting while the client does not read; raises SocketClosed."""
        if self._closed:
            raise SocketClosed
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self.base_send({"type": "websocket.send", "text": text})
        except TimeoutError:
            # What it missed is stored: it can come back with its cursor.
            self._spawn(self._hang_up(TOO_SLOW))
            raise SocketClosed from None
        except Exception as gone:
            raise SocketClosed from gone

    async def _say(self, text: str) -> None:
        try:
            await self.transmit(text)
        except SocketClosed:
            pass

    async def _hang_up(self, code: int, data: dict[str, Any] | None = None, frame_id: str | None = None) -> None:
        """Say why, close, and end the socket's loop. Nothing else is said after this began."""
        if self._closed:
            return
        self._closed = True
        if self._session is not None:
            self._session.close()
        if asyncio.current_task() is not self._reading:
            # Granian sends no close frame while somebody waits for what the client says next.
            self._reading.cancel()
            await asyncio.wait([self._reading])
        try:
            async with asyncio.timeout(GOODBYE_SECONDS):
                if data is not None:
                    text = encode_frame("error", data, frame_id=frame_id)
                    await self.base_send({"type": "websocket.send", "text": text})
                await self.base_send({"type": "websocket.close", "code": code})
        except Exception:  # noqa: S110  it is gone, or does not read: there is nothing to add
            pass
        if not self._over.done():
            self._over.set_result(None)

    def _let_go(self) -> None:
        """Stop everything that was for this socket alone. Runs are not."""
        if self._unwatch is not None:
            self._unwatch()
        for task in self._tasks:
            task.cancel()
        if self._session is not None:
            self._session.close()
