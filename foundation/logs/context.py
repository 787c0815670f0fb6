"""What all lines that are logged for one request, websocket or run have in common."""

from __future__ import annotations

import contextvars
import uuid
from dataclasses import dataclass, fields
from typing import Any, Protocol


class HasIds(Protocol):
    """A caller whose account is known."""

    @property
    def user_id(self) -> uuid.UUID: ...
    @property
    def key_id(self) -> uuid.UUID | None: ...


@dataclass(slots=True)
class LogContext:
    """What is known of the request so far; threads and tasks that work for it share one object, and add to it.

    `request_id` is in the response's header X-Request-Id, and on the runs that the request starts. `trace_id` is that
    of a W3C `traceparent`, or of our own trace. `route` is the template of the path, never the path itself.
    `traceparent` is that of the span in which the work goes on, for those that are to follow it; '' without traces.
    """

    request_id: str = ""
    trace_id: str = ""
    method: str = ""
    route: str = ""
    user_id: uuid.UUID | None = None
    key_id: uuid.UUID | None = None
    run_id: uuid.UUID | None = None
    traceparent: str = ""

    def note_caller(self, caller: HasIds) -> None:
        self.user_id, self.key_id = caller.user_id, caller.key_id

    def known(self) -> dict[str, Any]:
        """Return the fields that are known, by name."""
        return {name: value for name in NAMES if (value := getattr(self, name))}


NAMES = tuple(field.name for field in fields(LogContext) if field.name != "traceparent")
log_context: contextvars.ContextVar[LogContext] = contextvars.ContextVar("log_context")


def current() -> LogContext:
    """Return what is known of the request that is being handled; outside of requests nothing is."""
    return log_context.get(None) or LogContext()


def background_context(found: LogContext | None = None) -> contextvars.Context:
    """Return a new context for a task that outlives its request: only its lines still tell whom it works for."""
    context = contextvars.Context()
    context.run(log_context.set, found or current())
    return context
