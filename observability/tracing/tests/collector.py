"""A collector of traces on loopback that speaks OTLP over HTTP, and hangs on request."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from chatservice.testing import wait_until


@dataclass(frozen=True, slots=True)
class Received:
    """A span as it arrived; `process` is the `service.instance.id` of its process, times are in nanoseconds."""

    trace: str
    id: str
    parent: str
    name: str
    kind: int
    attributes: dict[str, Any]
    events: list[str]
    is_error: bool
    process: str
    start: int
    end: int


class Collector:
    def __init__(self) -> None:
        self.spans: dict[str, Received] = {}
        self.bodies: list[bytes] = []
        self.waiting = 0
        self._open = threading.Event()
        self._open.set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._open.set()
        self._server.shutdown()
        self._server.server_close()

    def hang(self) -> None:
        """Take requests and answer none, until `recover`."""
        self._open.clear()

    def recover(self) -> None:
        self._open.set()

    def trace_with(self, names: set[str], wanted: Callable[[Received], bool]) -> list[Received]:
        """Return a trace of which a span is `wanted`, as soon as it has spans of all these `names`."""

        def found() -> list[Received]:
            spans = list(self.spans.values())
            for trace in {span.trace for span in spans if wanted(span)}:
                whole = [span for span in spans if span.trace == trace]
                if names <= {span.name for span in whole}:
                    return sorted(whole, key=lambda span: span.start)
            return []

        return wait_until(found, what=f"a trace with {names}")

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if not collector._open.is_set():
                    collector.waiting += 1
                    collector._open.wait(60)
                    return
                collector._take(body)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                """Say nothing."""

        return Handler

    def _take(self, body: bytes) -> None:
        self.bodies.append(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            process = _values(resource.resource.attributes).get("service.instance.id", "")
            for span in (span for scope in resource.scope_spans for span in scope.spans):
                self.spans[span.span_id.hex()] = Received(
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.name,
                    span.kind,
                    _values(span.attributes),
                    [event.name for event in span.events],
                    span.status.code == 2,
                    process,
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                )


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: _value(each.value) for each in attributes}


def _value(value: AnyValue) -> Any:
    if (kind := value.WhichOneof("value")) == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, str(kind))
