"""Makes spans. Their parents are `traceparent` texts, since those come from other tasks, threads and processes."""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Mapping
from importlib.metadata import entry_points

from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    set_span_in_context,
)

from chatservice import __version__
from chatservice.trace_settings import EXPORTERS, exporter_name
from foundation.logs.context import current

QUIET_SECONDS = 60.0
FLUSH_SECONDS = 1.0
"""How long the end of the process waits for the last spans; lifespan.py leaves no more time."""
NANOSECONDS = 1_000_000_000

_tracer: Tracer | None = None


def begin() -> None:
    """Make the tracer of this process: exporter, sampler and resource are those of OTEL_*."""
    global _tracer
    if _tracer is not None:
        return
    _limit_warnings()
    resource = Resource.create({SERVICE_VERSION: __version__})
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: "chatservice"}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    [exporter] = entry_points(group=EXPORTERS, name=exporter_name())
    provider.add_span_processor(BatchSpanProcessor(exporter.load()()))
    atexit.register(_shut_down, provider)
    _tracer = provider.get_tracer("chatservice", __version__)


def is_on() -> bool:
    return _tracer is not None


def start(
    name: str,
    parent: str,
    attributes: Mapping[str, str | int | bool] | None = None,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    seconds: float = 0.0,
) -> Span:
    """Start a span that began `seconds` ago; without a `parent` (a well-formed traceparent) it begins a trace."""
    assert _tracer is not None
    context = _context_of(parent) if parent else Context()
    began = time.time_ns() - int(seconds * NANOSECONDS)
    return _tracer.start_span(name, context, kind, attributes, start_time=began)


def _context_of(traceparent: str) -> Context:
    """Read a traceparent that is known to be well-formed, in a fifth of the time that the library's reader takes."""
    _, trace_id, span_id, flags = traceparent.split("-")[:4]
    found = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
    return set_span_in_context(NonRecordingSpan(found), Context())


def traceparent_of(span: Span) -> str:
    found = span.get_span_context()
    return f"00-{found.trace_id:032x}-{found.span_id:016x}-{found.trace_flags:02x}"


def work_in(span: Span) -> None:
    """Let what follows in this request or run be below this span, and its log lines tell the trace."""
    context = current()
    context.traceparent = traceparent_of(span)
    context.trace_id = f"{span.get_span_context().trace_id:032x}"


def fail(span: Span, error_type: str) -> None:
    span.set_attribute("error.type", error_type)
    span.set_status(Status(StatusCode.ERROR))


def _shut_down(provider: TracerProvider) -> None:
    """Send the last spans. A collector that hangs does not delay the end of the process for long."""
    work = threading.Thread(target=provider.shutdown, name="traces", daemon=True)
    work.start()
    work.join(FLUSH_SECONDS)


def _limit_warnings() -> None:
    logger = logging.getLogger("opentelemetry")
    logger.propagate = False
    logger.addHandler(OneAMinute())


class OneAMinute(logging.Handler):
    """Passes one line in QUIET_SECONDS on to the other handlers: a collector may be away for days."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._quiet_until = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + QUIET_SECONDS
            record.exc_info = None
            logging.getLogger().handle(record)
