"""Responses over a websocket, `/v1/responses`: one response after the other, each as its events.

A frame `{"type": "response.create", ...}` has the body of a request. What was not stored can be continued on the same
socket only, and only the newest such response: it is kept in memory, until it is continued or a continuation fails.
With `generate: false` no model is asked: what was sent is kept for the next request to continue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.utils import timezone

from accounts.callers import NotAdmitted, Principal
from accounts.credential_watch import Refusal
from accounts.scopes import Scope, require_scope
from accounts.websocket_auth import has_credentials_in_query, principal_of_scope
from chatservice.dialects.base import begin_counting, counting_failures, encode_json
from chatservice.dialects.json_body import parse_json
from chatservice.dialects.openai_v1.errors import render
from chatservice.dialects.openai_v1.item_parsing import messages_from
from chatservice.dialects.openai_v1.responses.asking import run_request
from chatservice.dialects.openai_v1.responses.reading import wires_before
from chatservice.dialects.openai_v1.responses.request_parsing import read_request
from chatservice.dialects.openai_v1.responses.shapes import Head
from chatservice.dialects.openai_v1.responses.stream import ResponseEvents
from chatservice.dialects.openai_v1.responses.views import head_of
from chatservice.dialects.problems import BadRequest, Problem, problem_of
from chatservice.dialects.run_requests import submit
from chatservice.dialects.sockets import FLOOD, DialectSocket, SocketClosed
from completions.leaving import stop_soon
from completions.readers import subscribe
from completions.run_requests import RunHandle, RunRequest
from completions.stream_limits import acquire_socket, acquire_unauthenticated_socket
from completions.types import Heartbeat, RunFinished, Wire
from foundation.database import in_database_thread
from foundation.ids import uuid7

PATH = "responses"
QUEUE = 16
HOUR = 3_600.0
UNAUTHORIZED, TOO_SLOW, TOO_MANY, EXPIRED = 4401, 4408, 4429, 4410
NOTHING = RunFinished("complete", usage={})
ONE_HOUR = Problem(400, "websocket_connection_limit_reached", "A websocket lasts 60 minutes: open a new one.")


@dataclass(frozen=True, slots=True)
class Unstored:
    """A response that is not stored, with all messages up to its end."""

    id: str
    messages: tuple[Wire, ...]


class ResponsesSocket(DialectSocket):
    too_slow = (TOO_SLOW, "")
    scope_needed = Scope.GENERATE

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._principal: Principal | None = None
        self._queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(QUEUE)
        self._unstored: Unstored | None = None

    async def connect(self) -> None:
        # Accepted first: most clients do not show why a handshake was refused.
        await self.accept()
        try:
            if has_credentials_in_query(self.scope):
                raise NotAdmitted("Never put a key into the URL: send it in the Authorization header.")
            self.acquire(acquire_unauthenticated_socket, self.scope)
            principal = await in_database_thread(principal_of_scope, self.scope)
            if principal.credential is None or principal.is_guest:
                raise NotAdmitted("Send a key in the Authorization header.")
            self.acquire(acquire_socket, principal)
        except Exception as error:
            problem = problem_of(error)
            await self._end(TOO_MANY if problem.status == 429 else UNAUTHORIZED, problem)
            return
        self._principal = principal
        self.watch(principal)
        self.spawn(self._work(principal))
        self.spawn(self._expire())

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if self.closed or self._principal is None:
            return
        used = self.count_frame()
        if used > 1:
            message = f"At most {settings.LIMIT_WS_FRAMES_PER_SECOND} frames a second (LIMIT_WS_FRAMES_PER_SECOND)."
            problem = Problem(429, "rate_limit_exceeded", message, retry_after=1)
            await (self._end(TOO_MANY, problem) if used > FLOOD else self._say_error(problem))
            return
        try:
            body = _read_frame(text_data if text_data is not None else (bytes_data or b""))
        except BadRequest as bad:
            await self._say_error(bad.problem)
            return
        await self._queue.put(body)  # while it is full nothing is read, so the client's own buffers fill

    async def be_refused(self, refusal: Refusal) -> None:
        await self._end(UNAUTHORIZED, Problem(401, refusal.code, refusal.message))

    async def _work(self, principal: Principal) -> None:
        while True:
            body = await self._queue.get()
            try:
                found = await in_database_thread(principal_of_scope, self.scope)
                await self._respond(principal.limited_as(found), body)
            except SocketClosed:
                return
            except Exception as error:
                await self._say_error(problem_of(error))

    async def _respond(self, principal: Principal, body: dict[str, Any]) -> None:
        require_scope(principal, self.scope_needed)
        warms_up = body.get("generate") is False
        asked = read_request({**body, "store": False} if warms_up else body)
        kept, before = self._unstored, None
        if kept is not None and asked.previous == kept.id:
            before, self._unstored = kept.messages, None
        begin_counting()
        made = await run_request(asked, principal, before=before)
        if warms_up:
            events = ResponseEvents(_head_of(made))
            for event in events.feed(NOTHING):
                await self._say(event)
            await self._keep(made, events)
            return
        handle = await counting_failures(principal, submit(made))
        events = ResponseEvents(head_of(handle))
        for event in events.take():
            await self._say(event)
        await self._relay(handle, events)
        if not made.store and events.status in ("completed", "incomplete"):
            await self._keep(made, events)

    async def _keep(self, made: RunRequest, events: ResponseEvents) -> None:
        earlier = await in_database_thread(wires_before, made)
        self._unstored = _kept([*earlier, *made.messages], events)

    async def _relay(self, handle: RunHandle, events: ResponseEvents) -> None:
        finished = False
        async with aclosing(subscribe(handle.run_id, merged=False)) as following:
            try:
                async for event in following:
                    if isinstance(event, Heartbeat):
                        continue
                    finished = isinstance(event, RunFinished)
                    for each in events.feed(event):
                        await self._say(each)
            finally:
                if not finished and not handle.request.store:
                    stop_soon(handle.run_id)  # nobody can hear of it any more

    async def _expire(self) -> None:
        await asyncio.sleep(HOUR)
        await self._end(EXPIRED, ONE_HOUR)

    async def _say(self, event: dict[str, Any]) -> None:
        await self.transmit(encode_json(event).decode())

    async def _say_error(self, problem: Problem) -> None:
        try:
            await self._say(_error(problem))
        except SocketClosed:
            pass

    async def _end(self, code: int, problem: Problem) -> None:
        await self.hang_up(code, problem.code, last=encode_json(_error(problem)).decode())


application: Callable[..., Any] = ResponsesSocket.as_asgi()


def _read_frame(data: str | bytes) -> dict[str, Any]:
    """Return the body in a frame; raises BadRequest."""
    frame = parse_json(data.encode() if isinstance(data, str) else data)
    if not isinstance(frame, dict) or frame.get("type") != "response.create":
        raise BadRequest("Send an object with the type 'response.create'.", code="invalid_value", param="type")
    body = frame.get("response")
    return dict(body) if isinstance(body, dict) else {name: each for name, each in frame.items() if name != "type"}


def _error(problem: Problem) -> dict[str, Any]:
    """Return an error as an event: flat as OpenAI's document has it, and nested as its clients read it."""
    error = render(problem)["error"]
    flat = {name: error[name] for name in ("code", "message", "param")}
    return {"type": "error", "sequence_number": 0, "status": problem.status, **flat, "error": error}


def _head_of(made: RunRequest) -> Head:
    """Return what is known of a response that no model writes."""
    return Head(uuid7(), uuid7(), timezone.now(), made.model[:200], made.echo or {})


def _kept(asked: Sequence[Wire], events: ResponseEvents) -> Unstored | None:
    """Return what a later call continues; None if it is longer than a request may be."""
    response = events.response(events.status)
    messages = (*asked, *messages_from(response["output"]))
    fits = len(encode_json(messages)) <= settings.LIMIT_BODY_BYTES or not settings.LIMIT_BODY_BYTES
    return Unstored(response["id"], messages) if fits else None
