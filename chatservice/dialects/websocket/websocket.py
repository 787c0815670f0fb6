"""The websocket: one socket carries many conversations. Authenticates it, limits it and closes it.

Operations are in session.py, frames in client_frames.py and frames.py. The protocol: docs/api/websocket.md.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any

from django.conf import settings

from accounts.callers import NotAdmitted, Principal, TooManyFailures
from accounts.credential_watch import STOPPED, Refusal
from accounts.principal import guests_admitted, guests_refused
from accounts.websocket_auth import (
    SUBPROTOCOL,
    caller_of_scope,
    has_credentials_in_query,
    offers_credentials,
    principal_of_frame,
    principal_of_scope,
)
from chatservice.dialects.sockets import FLOOD, DialectSocket, SocketClosed
from chatservice.dialects.websocket.client_frames import Auth, BadFrame, ClientFrame, Ping, read_frame
from chatservice.dialects.websocket.frames import encode_frame, error_data
from chatservice.dialects.websocket.session import Session, data_of
from chatservice.signals import tell_of_limit
from completions.exceptions import TooManyRuns
from completions.stream_limits import Release, acquire_socket, acquire_unauthenticated_socket
from foundation.database import in_database_thread

AUTH_SECONDS = 5.0
QUEUE = 16

# From the range for applications: Daphne refuses to send most of the protocol's codes.
UNAUTHORIZED, TOO_SLOW, STOPPED_BY_STAFF, TOO_MANY, FAILED = 4401, 4408, 4410, 4429, 4500


class CompletionConsumer(DialectSocket):
    """Reads frames into a short queue; relays each answer in a task of its own, so that none holds up the others."""

    too_slow = (TOO_SLOW, "")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._session: Session | None = None
        self._queue: asyncio.Queue[ClientFrame] = asyncio.Queue(QUEUE)
        self._first = True
        self._resolve: Callable[[], Principal] | None = None

    def stop(self) -> None:
        if self._session is not None:
            self._session.close()

    async def connect(self) -> None:
        # Every handshake is accepted first: a browser does not tell its page why a handshake was refused.
        offered = self.scope.get("subprotocols") or ()
        await self.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
        if not await self._acquire_socket(acquire_unauthenticated_socket, self.scope):
            return
        if has_credentials_in_query(self.scope):
            message = "Never put a key into the URL: use the Authorization header, a subprotocol or an auth frame."
            await self._hang_up(UNAUTHORIZED, error_data("credentials_in_query", message))
            return
        try:
            named = offers_credentials(self.scope)
            named = named or await in_database_thread(guests_admitted, caller_of_scope(self.scope))
        except Exception as error:  # for example because all database threads are busy
            await self._hang_up(FAILED, data_of(error))
            return
        if named:
            await self._admit(principal_of_scope, self.scope)
        else:
            self.spawn(self._expect_auth())

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if self.closed or not await self._in_time():
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
            message = f'Say who you are first: {{"type": "auth", "key": "..."}}. {guests_refused()}'
            await self._hang_up(UNAUTHORIZED, error_data("unauthorized", message), frame.id)
        else:
            # While the queue is full nothing is read, so the client's own buffers fill.
            await self._queue.put(frame)

    # --- authentication

    async def _admit(self, resolve: Callable[..., Principal], *arguments: Any, frame_id: str | None = None) -> None:
        """Begin a session for the caller that `resolve` returns; hang up if it refuses."""
        try:
            principal = await in_database_thread(resolve, *arguments)
        except NotAdmitted as refusal:
            await self._turn_away(refusal, frame_id)
        except Exception as error:
            await self._hang_up(FAILED, data_of(error), frame_id)
        else:
            if not await self._acquire_socket(acquire_socket, principal, frame_id=frame_id):
                return
            self._resolve = functools.partial(resolve, *arguments)
            if self._session is None:
                self.spawn(self._work())
            self._session = Session(principal, self.transmit)
            self.watch(principal)

    async def _acquire_socket(self, take: Callable[[Any], Release], who: Any, frame_id: str | None = None) -> bool:
        """Count this socket towards the limit of `who`; hang up if the limit is reached."""
        try:
            self.acquire(take, who)
        except TooManyRuns as refusal:
            tell_of_limit(refusal.code, refusal.message)
            data = error_data(refusal.code, refusal.message, refusal.retry_after)
            await self._hang_up(TOO_MANY, data, frame_id)
            return False
        return True

    async def _authenticate(self, frame: Auth, first: bool) -> None:
        """Admit the key in a socket's first frame; it may replace a guest or a signed-in browser."""
        if self._session is not None and not (first and self._session.principal.key_id is None):
            message = "This socket knows who you are. A key may only come in the first frame."
            await self._say(encode_frame("error", error_data("already_authenticated", message), frame_id=frame.id))
            return
        await self._admit(principal_of_frame, self.scope, frame.key, frame_id=frame.id)
        if self._session is not None and not self.closed:
            who = self._session.principal
            data = {"user_id": who.user_id, "username": who.username}
            await self._say(encode_frame("authenticated", data, frame_id=frame.id))

    async def _expect_auth(self) -> None:
        await asyncio.sleep(AUTH_SECONDS)
        if self._session is None:
            message = f"No key came by header, subprotocol or first frame. {guests_refused()}"
            await self._hang_up(UNAUTHORIZED, error_data("unauthorized", message))

    async def _is_still_admitted(self, session: Session, frame: ClientFrame) -> bool:
        """Tell whether a frame may be handled: the socket's credential may have become invalid, or its limits others.

        Such a socket is closed, but only at the next check; until then nothing may be stored for its user.
        """
        if self._resolve is None or session.principal.credential is None or isinstance(frame, Ping):
            return True
        try:
            found = await in_database_thread(self._resolve)
        except NotAdmitted as refusal:
            await self._turn_away(refusal, frame.id)
        except Exception as error:
            await self._say(encode_frame("error", data_of(error), frame_id=frame.id))
        else:
            session.principal = session.principal.limited_as(found)
            return True
        return False

    async def _turn_away(self, refusal: NotAdmitted, frame_id: str | None) -> None:
        code = TOO_MANY if isinstance(refusal, TooManyFailures) else UNAUTHORIZED
        await self._hang_up(code, error_data(refusal.code, refusal.message, refusal.retry_after), frame_id)

    async def be_refused(self, refusal: Refusal) -> None:
        code = STOPPED_BY_STAFF if refusal is STOPPED else UNAUTHORIZED
        await self._hang_up(code, error_data(refusal.code, refusal.message))

    # --- limits

    async def _in_time(self) -> bool:
        """Count a frame; tell whether it is within the limit per second."""
        used = self.count_frame()
        if used <= 1:
            return True
        limit = settings.LIMIT_WS_FRAMES_PER_SECOND
        data = error_data("rate_limit_exceeded", f"At most {limit} frames a second (LIMIT_WS_FRAMES_PER_SECOND).", 1)
        if used > FLOOD:
            await self._hang_up(TOO_MANY, data)
        else:
            await self._say(encode_frame("error", data))
        return False

    async def _work(self) -> None:
        """Handle frames one after the other, in order: a later one may be meant to undo an earlier one."""
        while True:
            frame = await self._queue.get()
            session = self._session
            if session is not None and await self._is_still_admitted(session, frame):
                await session.handle(frame)

    # --- sending and closing

    async def _say(self, text: str) -> None:
        try:
            await self.transmit(text)
        except SocketClosed:
            pass

    async def _hang_up(self, code: int, data: dict[str, Any], frame_id: str | None = None) -> None:
        """Send the reason, and close."""
        await self.hang_up(code, last=encode_frame("error", data, frame_id=frame_id))


application = CompletionConsumer.as_asgi()
