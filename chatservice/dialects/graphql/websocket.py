"""Operations over a websocket in the subprotocol graphql-transport-ws, and no other.

This module authenticates the socket, limits it and closes it. Frames are read one at a time; every operation is a task
of its own. Frames are defined in frames.py, operations are run by socket_operations.py.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any

from django.conf import settings

from accounts.callers import NotAdmitted, Principal, TooManyFailures
from accounts.credential_watch import STOPPED, Refusal
from accounts.principal import resolve_principal
from accounts.websocket_auth import (
    caller_of_scope,
    has_credentials_in_query,
    offers_key,
    principal_of_scope,
)
from chatservice.dialects.base import encode_json
from chatservice.dialects.graphql import frames
from chatservice.dialects.graphql.errors import shown
from chatservice.dialects.graphql.frames import Frame, Violation
from chatservice.dialects.graphql.socket_operations import run_operation
from chatservice.dialects.problems import BadRequest, problem_of
from chatservice.dialects.sockets import FLOOD, DialectSocket, SocketClosed
from completions.exceptions import TooManyRuns
from completions.stream_limits import Release, acquire_socket, acquire_unauthenticated_socket
from foundation.database import in_database_thread

SUBPROTOCOL = "graphql-transport-ws"
REASON_BYTES = 120
FRAMES_A_SECOND = "At most {} frames a second (LIMIT_WS_FRAMES_PER_SECOND)."


class GraphQLSocket(DialectSocket):
    too_slow = (frames.NO_INIT, "Too slow")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._principal: Principal | None = None
        self._init_received = False
        self._init: dict[str, Any] = {}
        self._operations: dict[str, asyncio.Task[None]] = {}

    async def connect(self) -> None:
        # Every handshake is accepted first: a browser does not tell its page why a handshake was refused.
        spoken = SUBPROTOCOL in (self.scope.get("subprotocols") or ())
        await self.accept(SUBPROTOCOL if spoken else None)
        if not spoken:
            await self.hang_up(frames.NOT_ACCEPTABLE, f"Subprotocol not acceptable: only {SUBPROTOCOL} is.")
            return
        if has_credentials_in_query(self.scope):
            await self.hang_up(frames.FORBIDDEN, "Never put a key into the URL.")
            return
        try:
            self._count_as(acquire_unauthenticated_socket, self.scope)
        except Violation as violation:
            await self.hang_up(violation.code, violation.reason)
            return
        self.spawn(self._expect_init())

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if self.closed:
            return
        try:
            in_time = self._in_time()
            await self._handle(frames.read_frame(text_data), in_time)
        except Violation as violation:
            await self.hang_up(violation.code, violation.reason)
        except SocketClosed:
            pass

    async def hang_up(self, code: int, reason: str = "", *, last: str | None = None) -> None:
        await super().hang_up(code, reason.encode()[:REASON_BYTES].decode(errors="ignore"), last=last)

    def _in_time(self) -> bool:
        """Count a frame; tell whether it is within the limit per second. Raises Violation for a flood."""
        used = self.count_frame()
        if used > FLOOD:
            raise Violation(frames.TOO_MANY, FRAMES_A_SECOND.format(settings.LIMIT_WS_FRAMES_PER_SECOND))
        return used <= 1

    async def _handle(self, frame: Frame, in_time: bool) -> None:
        match frame.kind:
            case "connection_init":
                await self._begin(frame.payload or {})
            case "ping":
                await self._send_frame({"type": "pong"})
            case "subscribe":
                await self._subscribe(frame, in_time)
            case "complete":
                if task := self._operations.pop(frame.id, None):
                    task.cancel()

    # --- authentication

    async def _begin(self, payload: dict[str, Any]) -> None:
        if self._init_received:
            raise Violation(frames.TOO_MANY, "Too many initialisation requests")
        self._init_received = True
        self._init = payload
        try:
            self._principal = await in_database_thread(principal_for, self.scope, payload)
        except TooManyFailures as refusal:
            raise Violation(frames.TOO_MANY, refusal.message) from refusal
        except NotAdmitted as refusal:
            raise Violation(frames.FORBIDDEN, refusal.message) from refusal
        except Exception as error:
            problem = problem_of(error)
            if problem.retry_after is None:
                raise Violation(frames.FAILED, problem.message) from error
            when = f"{problem.message} Try again in {problem.retry_after} s."
            raise Violation(frames.UNAVAILABLE, when) from error
        self._count_as(acquire_socket, self._principal)
        self.watch(self._principal)
        await self._send_frame({"type": "connection_ack"})

    def _count_as(self, take: Callable[[Any], Release], who: Any) -> None:
        """Count this socket towards the limit of `who`; raises Violation."""
        try:
            self.acquire(take, who)
        except TooManyRuns as refusal:
            raise Violation(frames.TOO_MANY, refusal.message) from refusal

    async def _expect_init(self) -> None:
        await asyncio.sleep(settings.GRAPHQL_INIT_SECONDS)
        if not self._init_received:
            await self.hang_up(frames.NO_INIT, "Connection initialisation timeout")

    async def be_refused(self, refusal: Refusal) -> None:
        code = frames.STOPPED_BY_STAFF if refusal is STOPPED else frames.FORBIDDEN
        await self.hang_up(code, refusal.message)

    # --- operations

    async def _subscribe(self, frame: Frame, in_time: bool) -> None:
        if self._principal is None:
            raise Violation(frames.UNAUTHORIZED, "Unauthorized")
        if frame.id in self._operations:
            raise Violation(frames.ID_TAKEN, "An operation with this id already exists")
        refusal = frame.refusal
        if not in_time:
            message = FRAMES_A_SECOND.format(settings.LIMIT_WS_FRAMES_PER_SECOND)
            refusal = BadRequest(message, code="rate_limit_exceeded", status=429, retry_after=1)
        if len(self._operations) >= settings.GRAPHQL_SUBSCRIPTIONS:
            message = f"At most {settings.GRAPHQL_SUBSCRIPTIONS} operations at once (GRAPHQL_SUBSCRIPTIONS)."
            refusal = BadRequest(message, code="too_many_subscriptions", status=429, retry_after=1)
        if refusal is not None or frame.operation is None:
            await self._refuse(frame, refusal or BadRequest("No."))
            return
        # This socket's credential may already be invalid, although the next check of open sockets is still to come.
        if self._principal.credential is not None:
            try:
                found = await in_database_thread(principal_for, self.scope, self._init)
            except NotAdmitted as gone:
                raise Violation(frames.FORBIDDEN, gone.message) from gone
            except Exception as error:
                await self._refuse(frame, error)
                return
            self._principal = self._principal.limited_as(found)
        work = run_operation(frame.operation, self._principal)
        self._operations[frame.id] = self.spawn(self._relay(frame.id, work))

    async def _refuse(self, frame: Frame, error: Exception) -> None:
        await self._send_frame({"id": frame.id, "type": "error", "payload": [shown(error)]})

    async def _relay(self, name: str, work: Any) -> None:
        """Send an operation's frames; its id can be used again before the last of them is sent."""
        try:
            async for kind, payload in work:
                if kind != "next":
                    self._forget(name)
                frame = {"id": name, "type": kind, "payload": payload}
                await self._send_frame(frame if payload is not None else {"id": name, "type": kind})
        except SocketClosed:
            pass
        finally:
            self._forget(name)
            await work.aclose()

    def _forget(self, name: str) -> None:
        if self._operations.get(name) is asyncio.current_task():
            del self._operations[name]

    async def _send_frame(self, frame: dict[str, Any]) -> None:
        await self.transmit(encode_json(frame).decode())


application = GraphQLSocket.as_asgi()


def principal_for(scope: dict[str, Any], payload: dict[str, Any]) -> Principal:
    """Return a socket's caller, from its headers or `authorization` in its first frame; raises NotAdmitted."""
    given = [value for name, value in payload.items() if name.lower() == "authorization" and value is not None]
    if not given:
        return principal_of_scope(scope)
    if len(given) > 1 or not isinstance(given[0], str):
        raise NotAdmitted("'authorization' must be the text 'Bearer <key>'.")
    caller = caller_of_scope(scope)
    if offers_key(scope) and caller.headers.get("authorization") != given[0]:
        raise NotAdmitted("Send only one key.")
    named = dataclasses.replace(caller, headers={**caller.headers, "authorization": given[0]})
    return resolve_principal(named, allow_guest=False)
