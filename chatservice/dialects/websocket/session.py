"""What an admitted socket can do: ask, stop, follow. Knows frames and services, but not the server or Channels."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from django.db import InterfaceError, OperationalError

from accounts.callers import Principal
from accounts.scopes import ScopeMissing, require_scope
from chatservice.dialects.attached_files import user_message
from chatservice.dialects.leaving import cancels
from chatservice.dialects.problems import MISSING_SCOPE, BadRequest
from chatservice.dialects.run_requests import make_run_request, resolve_model, with_default_generation
from chatservice.dialects.sockets import SocketClosed
from chatservice.dialects.websocket.client_frames import (
    BadFrame,
    ClientFrame,
    Continue,
    Ping,
    Send,
    Stop,
    Subscribe,
    Unsubscribe,
    uuid_of,
)
from chatservice.dialects.websocket.frames import RelayedRun, encode_frame, error_data
from chatservice.dialects.websocket.stream_relay import StreamRelay
from chatservice.signals import tell_of_limit
from completions import interrupting, services
from completions.continuing import ResumePoint, find_resume_point
from completions.cursors import BadCursor, Cursor
from completions.exceptions import Refused
from completions.leaving import stop_soon
from completions.models import Run
from completions.recall import read_recall
from completions.run_requests import HEAD, RunRequest, WhenBusy
from completions.stream_limits import acquire_stream
from completions.types import Wire
from conversations.models import Conversation, Message
from foundation.database import in_database_thread
from foundation.logs.tracebacks import name_of, unexpected
from foundation.outages import is_passing, note_failure

logger = logging.getLogger(__name__)

Opening = Callable[[StreamRelay], Awaitable[None]]

NO_RUN = "Run not found."
NO_CONVERSATION = "Conversation not found."
NO_MESSAGE = "Message not found."


class Session:
    """The runs that one socket follows. `transmit` sends a frame, waits for a slow reader, raises SocketClosed."""

    def __init__(self, principal: Principal, transmit: Callable[[str], Awaitable[None]]) -> None:
        self.principal = principal
        self._transmit = transmit
        self._relayed: dict[uuid.UUID, asyncio.Task[None]] = {}
        self._closed = False

    async def handle(self, frame: ClientFrame) -> None:
        """Do what a frame asks; every refusal becomes an error frame."""
        try:
            require_scope(self.principal, frame.scope)
            match frame:
                case Send():
                    await self._send(frame)
                case Continue():
                    await self._continue(frame)
                case Stop():
                    await self._stop(frame)
                case Subscribe():
                    await self._subscribe(frame)
                case Unsubscribe():
                    await self._unsubscribe(frame)
                case Ping():
                    await self._transmit(encode_frame("pong", frame_id=frame.id))
        except SocketClosed:
            pass
        except Exception as error:
            await self._refuse(frame.id, error)

    def close(self) -> None:
        """Stop following all runs. They go on, unless ON_DISCONNECT_WEBSOCKET says otherwise."""
        self._closed = True
        for task in list(self._relayed.values()):
            task.cancel()

    async def _refuse(self, frame_id: str | None, error: Exception) -> None:
        try:
            await self._transmit(encode_frame("error", data_of(error), frame_id=frame_id))
        except SocketClosed:
            pass

    async def _send(self, frame: Send) -> None:
        question = await user_message(self.principal, frame.content, frame.file_ids)
        ask = ask_from(frame, question, self.principal)
        is_new = ask.conversation_id is None
        if is_new:
            ask = await with_default_generation(ask)
        await self._ask(ask, frame.id, lambda relay: relay.send_question(is_new=is_new))

    async def _continue(self, frame: Continue) -> None:
        message_id = uuid_of(frame.message_id)
        if message_id is None:
            raise BadFrame(NO_MESSAGE, code="not_found")
        try:
            resume_point = await in_database_thread(find_resume_point, self.principal, message_id)
        except Message.DoesNotExist:
            raise BadFrame(NO_MESSAGE, code="not_found") from None
        await self._ask(continue_request(frame, resume_point, self.principal), frame.id, StreamRelay.send_subscribed)

    async def _ask(self, ask: RunRequest, frame_id: str | None, opening: Opening) -> None:
        # Checked before anything is stored: a caller who may not open another stream may not ask here.
        release = acquire_stream(self.principal)
        try:
            handle = await interrupting.submit(ask)
            await self._leave(handle.run_id)
        except BaseException:
            release()
            raise
        relayed = RelayedRun(handle.run_id, handle.conversation_id, handle.message_id, frame_id)
        stops = cancels(None, "websocket", keyed=bool(ask.idempotency_key))
        self._follow(relayed, None, opening, release, stops=stops)

    async def _stop(self, frame: Stop) -> None:
        run_id = uuid_of(frame.run_id)
        status = await in_database_thread(status_of, self.principal, run_id) if run_id else None
        if run_id is None or status is None:
            raise BadFrame(NO_RUN, code="not_found")
        await services.cancel(run_id)
        await self._transmit(encode_frame("stopping", {"status": status}, frame_id=frame.id, run_id=run_id))

    async def _subscribe(self, frame: Subscribe) -> None:
        if (frame.run_id is None) == (frame.conversation_id is None):
            raise BadFrame("Subscribe to a 'run_id' or to a 'conversation_id', one of them.")
        if frame.cursor is not None and frame.run_id is None:
            raise BadFrame("A 'cursor' needs its 'run_id'.")
        after = Cursor.parse(frame.cursor) if frame.cursor is not None else None
        relayed = await in_database_thread(find_run, self.principal, frame)
        if relayed is None:
            await self._transmit(encode_frame("idle", frame_id=frame.id, conversation_id=frame.conversation_id))
            return
        if after is not None and after.run_id != relayed.run_id:
            raise BadCursor("This is the cursor of another run.")
        await self._leave(relayed.run_id)
        release = acquire_stream(self.principal)
        self._follow(relayed, after, StreamRelay.send_subscribed, release, reasoning=bool(frame.reasoning))

    async def _unsubscribe(self, frame: Unsubscribe) -> None:
        run_id = uuid_of(frame.run_id)
        if run_id is not None:
            await self._leave(run_id)
        await self._transmit(encode_frame("unsubscribed", frame_id=frame.id, run_id=frame.run_id))

    async def _leave(self, run_id: uuid.UUID) -> None:
        """Stop following a run; once this returns, nothing more of it is sent."""
        while task := self._relayed.get(run_id):
            task.cancel()
            await asyncio.wait([task])

    def _follow(
        self,
        relayed: RelayedRun,
        after: Cursor | None,
        opening: Opening,
        release: Callable[[], None],
        *,
        stops: bool = False,
        reasoning: bool = False,
    ) -> None:
        """Relay a run; `reasoning`: and what the model thinks; `stops`: it is stopped if the socket closes first."""
        relay = StreamRelay(relayed, self._transmit, after, reasoning=reasoning)
        task = asyncio.create_task(self._relay(relay, relayed.frame_id, opening))
        self._relayed[relayed.run_id] = task

        def done(task: asyncio.Task[None]) -> None:
            # Not in the task's own `finally`: a task that is cancelled before its first step never reaches it.
            release()
            if self._relayed.get(relayed.run_id) is task:
                del self._relayed[relayed.run_id]
            if stops and self._closed:
                stop_soon(relayed.run_id)

        task.add_done_callback(done)

    async def _relay(self, relay: StreamRelay, frame_id: str | None, opening: Opening) -> None:
        try:
            await opening(relay)
            await relay.send_answer()
        except SocketClosed:
            pass
        except Exception as error:
            await self._refuse(frame_id, error)


def data_of(error: Exception) -> dict[str, Any]:
    """Return the error data to send for `error`; an unexpected error is logged."""
    match error:
        case BadFrame():
            return error_data(error.code, error.message)
        case BadRequest():  # about a file: an error frame has no field for the parameter
            return error_data(error.problem.code, f"'{error.problem.param}': {error.problem.message}")
        case BadCursor():
            return error_data("bad_cursor", str(error))
        case ScopeMissing():
            return error_data(MISSING_SCOPE, str(error))
        case Refused():
            tell_of_limit(error.code, error.message)
            return error_data(error.code, error.message, error.retry_after)
        case OperationalError() | InterfaceError() if is_passing(error):
            note_failure(error)
            return error_data("storage_unavailable", "The service cannot reach its store right now.", 5)
    logger.error("unexpected %s", name_of(type(error)), extra=unexpected(error))
    return error_data("internal_error", "The service failed. It is not your fault.")


def ask_from(frame: Send, question: Wire, principal: Principal) -> RunRequest:
    """Return the run request in a frame that asks `question`; raises BadFrame for ids that cannot be ours."""
    conversation_id = uuid_of(frame.conversation_id) if frame.conversation_id is not None else None
    if frame.conversation_id is not None and conversation_id is None:
        raise BadFrame(NO_CONVERSATION, code="not_found")
    parent_id = uuid_of(frame.parent_id) if frame.parent_id is not None else HEAD
    if parent_id is None:
        raise BadFrame(NO_MESSAGE, code="not_found")
    model = resolve_model(frame.model)
    parameters = dict(frame.parameters or {})
    if frame.temperature is not None:
        parameters["temperature"] = frame.temperature
    title = frame.title or ""
    return make_run_request(
        principal,
        model=model,
        key=frame.client_id or "",
        identity=(
            *("websocket", conversation_id, parent_id, question["content"]),
            *(model, parameters, title, frame.recall),
        ),
        messages=(question,),
        parameters=parameters,
        conversation_id=conversation_id,
        parent_id=parent_id,
        title=title,
        recall=read_recall(frame.recall),
        when_busy=frame.when_busy or WhenBusy.REJECT,
    )


def continue_request(frame: Continue, resume_point: ResumePoint, principal: Principal) -> RunRequest:
    """Return the request that continues a cut-off answer, with the same model unless the frame names another."""
    model = resolve_model(frame.model or resume_point.model)
    parameters = dict(frame.parameters or {})
    return make_run_request(
        principal,
        model=model,
        key=frame.client_id or "",
        identity=("websocket", "continue", frame.message_id, model, parameters),
        parameters=parameters,
        when_busy=frame.when_busy or WhenBusy.REJECT,
        **resume_point.request_fields(),
    )


def status_of(principal: Principal, run_id: uuid.UUID) -> str | None:
    """Return a run's state as the status of a message; None if the run belongs to somebody else."""
    state = Run.objects.visible_to(principal).filter(pk=run_id).values_list("state", flat=True).first()
    return "in_progress" if state == Run.State.RUNNING else state


def find_run(principal: Principal, frame: Subscribe) -> RelayedRun | None:
    """Return the run to follow; None if the conversation has no active run; raises BadFrame."""
    # A run that opted out of history cannot be followed, because nothing of it is stored.
    runs = Run.objects.visible_to(principal).exclude(message=None)
    if frame.run_id is not None:
        run_id = uuid_of(frame.run_id)
        run = runs.filter(pk=run_id).first() if run_id else None
        if run is None:
            raise BadFrame(NO_RUN, code="not_found")
    else:
        conversation_id = uuid_of(frame.conversation_id or "")
        mine = Conversation.objects.visible_to(principal)
        if conversation_id is None or not mine.filter(pk=conversation_id).exists():
            raise BadFrame(NO_CONVERSATION, code="not_found")
        queued, running = runs.filter(conversation_id=conversation_id).unfinished()
        run = running.order_by("-created_at", "-pk").first() or queued.order_by("message__position").first()
        if run is None:
            return None
    return RelayedRun(run.pk, run.conversation_id, run.message_id, frame.id)
