"""Operations over a websocket in the subprotocol graphql-transport-ws, and no other.

Who it is, how much it may say, when it ends. Frames are read one at a time; every operation is a task of
its own. What a frame may be is in frames.py, what an operation does in operations.py.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

from django.conf import settings

from accounts.database import in_database_thread
from accounts.principal import Caller, NotAdmitted, Principal, resolve_principal
from accounts.websocket_auth import (
    caller_of_scope,
    credential_watch,
    has_credentials_in_query,
    offers_key,
    principal_of_scope,
)
from chatservice.dialects.base import encode_json
from chatservice.dialects.graphql import frames
from chatservice.dialects.graphql.errors import shown
from chatservice.dialects.graphql.frames import Frame, Violation
from chatservice.dialects.graphql.operations import run_operation
from chatservice.dialects.problems import BadRequest

logger = logging.getLogger(__name__)

SUBPROTOCOL = "graphql-transport-ws"
SEND_SECONDS = 60.0
GOODBYE_SECONDS = 5.0
REASON_BYTES = 120
FLOOD = 10
"""So many times the allowed frames in one second are abuse, not haste."""


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await GraphQLSocket(scope, receive, send).serve()


class SocketClosed(Exception):
    """There is nobody to tell any more."""


class GraphQLSocket:
    def __init__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._principal: Principal | None = None
        self._asked_to_begin = False
        self._operations: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reading: asyncio.Task[None] | None = None
        self._unwatch: Callable[[], None] | None = None
        self._second = self._count = 0

    async def serve(self) -> None:
        if (await self._receive())["type"] != "websocket.connect":
            return
        # Accepted first, whoever it is: a browser shows its page no reason for a refused handshake.
        spoken = SUBPROTOCOL in (self._scope.get("subprotocols") or ())
        await self._send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL if spoken else None})
        if not spoken:
            await self._hang_up(frames.NOT_ACCEPTABLE, f"Subprotocol not acceptable: only {SUBPROTOCOL} is.")
            return
        if has_credentials_in_query(self._scope):
            await self._hang_up(frames.FORBIDDEN, "Never put a key into the URL.")
            return
        self._reading = asyncio.create_task(self._read())
        self._spawn(self._expect_init())
        try:
            await asyncio.wait([self._reading, self._over], return_when=asyncio.FIRST_COMPLETED)
            if self._closed:
                await self._over  # somebody is still saying goodbye
            elif not self._reading.cancelled():
                self._reading.result()
        finally:
            self._closed = True
            await self._let_go()

    async def _read(self) -> None:
        while not self._closed:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                return
            try:
                in_time = self._in_time()
                await self._handle(frames.read_frame(message.get("text")), in_time)
            except Violation as violation:
                await self._hang_up(violation.code, violation.reason)
            except SocketClosed:
                return

    def _in_time(self) -> bool:
        """Count a frame; tell whether it is within the limit of its second. Raises Violation for a flood."""
        limit = settings.LIMIT_WS_FRAMES_PER_SECOND
        second = int(time.monotonic())
        self._count = self._count + 1 if second == self._second else 1
        self._second = second
        if limit and self._count > limit * FLOOD:
            raise Violation(frames.TOO_MANY, f"At most {limit} frames a second.")
        return not limit or self._count <= limit

    async def _handle(self, frame: Frame, in_time: bool) -> None:
        match frame.kind:
            case "connection_init":
                await self._begin(frame.payload or {})
            case "ping":
                await self.transmit({"type": "pong"})
            case "subscribe":
                await self._subscribe(frame, in_time)
            case "complete":
                if task := self._operations.pop(frame.id, None):
                    task.cancel()

    # --- who it is

    async def _begin(self, payload: dict[str, Any]) -> None:
        if self._asked_to_begin:
            raise Violation(frames.TOO_MANY, "Too many initialisation requests")
        self._asked_to_begin = True
        try:
            self._principal = await in_database_thread(principal_for, self._scope, payload)
        except NotAdmitted as refusal:
            raise Violation(frames.FORBIDDEN, refusal.message) from refusal
        except Exception as error:
            logger.error("graphql: nobody could be admitted (%s)", type(error).__name__)
            raise Violation(frames.FAILED, "The service failed. It is not your fault.") from error
        if self._principal.credential is not None:
            self._unwatch = credential_watch.watch(self._principal.credential, self._key_is_gone)
        await self.transmit({"type": "connection_ack"})

    async def _expect_init(self) -> None:
        await asyncio.sleep(settings.GRAPHQL_INIT_SECONDS)
        if not self._asked_to_begin:
            await self._hang_up(frames.NO_INIT, "Connection initialisation timeout")

    def _key_is_gone(self) -> None:
        if not self._closed:
            self._spawn(self._hang_up(frames.FORBIDDEN, "This key is no longer valid."))

    # --- what it asks

    async def _subscribe(self, frame: Frame, in_time: bool) -> None:
        if self._principal is None:
            raise Violation(frames.UNAUTHORIZED, "Unauthorized")
        if frame.id in self._operations:
            raise Violation(frames.ID_TAKEN, "An operation with this id already exists")
        refusal = frame.refusal
        if not in_time:
            refusal = BadRequest("Too many frames a second.", code="rate_limit_exceeded", status=429)
        if len(self._operations) >= settings.GRAPHQL_SUBSCRIPTIONS:
            message = f"At most {settings.GRAPHQL_SUBSCRIPTIONS} operations at once."
            refusal = BadRequest(message, code="too_many_subscriptions", status=429)
        if refusal is not None or frame.operation is None:
            await self.transmit({"id": frame.id, "type": "error", "payload": [shown(refusal or BadRequest("No."))]})
            return
        work = run_operation(frame.operation, self._principal)
        self._operations[frame.id] = self._spawn(self._tell(frame.id, work))

    async def _tell(self, name: str, work: Any) -> None:
        """Send what an operation gives; its id is free again before the client hears of its end."""
        try:
            async for kind, payload in work:
                if kind != "next":
                    self._forget(name)
                frame = {"id": name, "type": kind, "payload": payload}
                await self.transmit(frame if payload is not None else {"id": name, "type": kind})
        except SocketClosed:
            pass
        finally:
            self._forget(name)
            await work.aclose()

    def _forget(self, name: str) -> None:
        if self._operations.get(name) is asyncio.current_task():
            del self._operations[name]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # --- saying, and ending

    async def transmit(self, frame: dict[str, Any]) -> None:
        """Send a frame, waiting while the client does not read; raises SocketClosed."""
        if self._closed:
            raise SocketClosed
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._send({"type": "websocket.send", "text": encode_json(frame).decode()})
        except TimeoutError:
            # What it missed is stored: it can come back with its cursor.
            self._spawn(self._hang_up(frames.NO_INIT, "Too slow"))
            raise SocketClosed from None
        except Exception as gone:
            raise SocketClosed from gone

    async def _hang_up(self, code: int, reason: str) -> None:
        """Close, and end the socket's loop. Nothing else is said after this began."""
        if self._closed:
            return
        self._closed = True
        if self._reading is not None and asyncio.current_task() is not self._reading:
            # Granian sends no close frame while somebody waits for what the client says next.
            self._reading.cancel()
            await asyncio.wait([self._reading])
        text = reason.encode()[:REASON_BYTES].decode(errors="ignore")
        try:
            async with asyncio.timeout(GOODBYE_SECONDS):
                await self._send({"type": "websocket.close", "code": code, "reason": text})
        except Exception:  # noqa: S110  it is gone, or does not read: there is nothing to add
            pass
        if not self._over.done():
            self._over.set_result(None)

    async def _let_go(self) -> None:
        """Stop everything that was for this socket alone. Runs are not."""
        if self._unwatch is not None:
            self._unwatch()
        tasks = [*self._tasks, *([self._reading] if self._reading else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def principal_for(scope: dict[str, Any], payload: dict[str, Any]) -> Principal:
    """Say who opened a socket: by its headers, or by `authorization` in its first frame; raises NotAdmitted."""
    given = [value for name, value in payload.items() if name.lower() == "authorization" and value is not None]
    if not given:
        return principal_of_scope(scope)
    if len(given) > 1 or not isinstance(given[0], str):
        raise NotAdmitted("'authorization' must be the text 'Bearer <key>'.")
    caller = caller_of_scope(scope)
    if offers_key(scope) and caller.headers.get("authorization") != given[0]:
        raise NotAdmitted("Offer one key.")
    named = Caller(headers={**caller.headers, "authorization": given[0]}, peer=caller.peer, secure=caller.secure)
    return resolve_principal(named, allow_guest=False)
