"""An HTTP connection: limits how much an unauthenticated client may send, and how long it may take.

In 1.2 s of endless headers it used no additional memory; uvicorn with the same parser grew by 356 MB (`python -m
benchmarks.unauthenticated`, in benchmarks/README.md).
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from foundation.internals.uvicorn.bounded import Bounded, over
from foundation.internals.uvicorn.connections import Connections, Phase
from foundation.internals.uvicorn.faults import Fault

# The parser is fed in slices, between which the size of its buffers is checked.
SLICE_BYTES = 4_096
MAX_PIPELINED = 16
# How much is read after a refusal: closing with unread data would reset the connection, and could lose our response.
LINGER_BYTES = 262_144
# A body that keeps arriving gets a second more than BODY_SECONDS for each of these: large ones take their time.
BODY_BYTES_PER_SECOND = 262_144
LINGER_SWEEPS = 2
WITHOUT_CHUNKS = ("0.9", "1.0")


def until_closed(cycle: RequestResponseCycle, app: Any) -> Any:
    """Return `app`, with each response of unknown length sent as it is until the connection closes.

    Uvicorn sends such a response in chunks, to every client, and HTTP/1.0 takes the chunks' marks for text.
    """
    cycle.keep_alive = False
    cycle.waiting_for_100_continue = False  # an interim response is newer than HTTP/1.0, too

    async def run(scope: Any, receive: Any, send: Any) -> None:
        is_endless = False

        async def sending(message: Any) -> None:
            nonlocal is_endless
            if message["type"] == "http.response.start":
                is_endless = all(name.lower() != b"content-length" for name, _ in message.get("headers", ()))
                cycle.chunked_encoding = False if is_endless else None
            elif is_endless:
                cycle.expected_content_length = len(message.get("body", b""))
            await send(message)

        await app(scope, receive, sending)

    return run


class BoundedHttpProtocol(Bounded, HttpToolsProtocol):
    """Limits requests while they arrive: httptools keeps everything that a client sends as a header."""

    server_state: Connections
    _requests = 0
    _head_begun = False
    _body_awaited = False
    _upgraded = False
    _late = False
    _refused = False
    _discarding = False
    _ignored = 0
    # Bytes that the parser took since its last callback; size and number of the headers it has reported.
    _unreported = 0
    _header_bytes = 0
    _headers = 0
    _body_bytes = 0
    _fault: Fault | None = None
    _active: RequestResponseCycle | None = None

    # --- incoming data

    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data), SLICE_BYTES):
            if self._upgraded or self.transport.is_closing():
                return
            if self._discarding:
                self._ignored += len(data) - start
                if self._refused and self._ignored > LINGER_BYTES:
                    self.transport.pause_reading()  # left unread until the end: a closed client would only reconnect
                return
            part = data[start : start + SLICE_BYTES]
            self._unreported += len(part)
            super().data_received(part)
            if not self._discarding and (fault := self._fault_of_headers()):
                self.refuse(fault)

    def on_message_begin(self) -> None:
        self._unreported = self._header_bytes = self._headers = 0
        self._head_begun = True
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._unreported = 0
        super().on_url(url)
        if over(len(self.url), settings.MAX_URL_BYTES):
            self._fail(Fault.LONG_URL)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header or trailer, which the parser does not distinguish."""
        self._unreported = 0
        self._headers += 1
        self._header_bytes += len(name) + len(value) + len(": \r\n")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._unreported = 0
        if fault := self._fault_of_headers():
            self._fail(fault)
        if len(self.pipeline) >= MAX_PIPELINED:
            self._fail(Fault.INVALID)
        self._requests += 1
        if self.url == b"*":  # OPTIONS for the whole server
            self.url = b"/"
        self._late = self.scope["late"] = self.server_state.is_late(first=self._requests == 1)  # type: ignore[typeddict-unknown-key]
        super().on_headers_complete()
        self._head_begun, self._body_awaited, self._body_bytes = False, True, 0
        if self.server_state.is_stopping:
            self.finish()

    def on_chunk_header(self) -> None:
        self._unreported = 0

    def on_chunk_complete(self) -> None:
        self._unreported = 0

    def on_body(self, body: bytes) -> None:
        self._unreported = 0
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        # Too large trailers can arrive in one slice with the end of the request, which the application must not get
        # then.
        if fault := self._fault_of_headers():
            self._fail(fault)
        self._unreported = 0
        self._body_awaited = False
        super().on_message_complete()

    def _should_upgrade(self) -> bool:
        return not self._late and super()._should_upgrade()

    def handle_websocket_upgrade(self) -> None:
        self._upgraded = True
        super().handle_websocket_upgrade()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._active = cycle
        if cycle.scope["http_version"] in WITHOUT_CHUNKS:
            app = until_closed(cycle, app)
        super()._start_asgi_task(cycle, app)

    def connection_lost(self, exc: Exception | None) -> None:
        # Uvicorn notifies only the newest request; with pipelining, an earlier one may be the one that is being
        # answered.
        if self._active is not None:
            self._active.disconnected = True
            self._active.message_event.set()
        super().connection_lost(exc)

    # --- refusals

    def _fault_of_headers(self) -> Fault | None:
        """Return what is wrong with the headers so far. Checked once per slice: once per header would be too slow."""
        if over(self._unreported + self._header_bytes, settings.MAX_HEADER_BYTES):
            return Fault.LARGE_HEADERS
        return Fault.MANY_HEADERS if over(self._headers, settings.MAX_HEADERS) else None

    def _fail(self, fault: Fault) -> None:
        """Stop the parser, which makes uvicorn call `send_400_response`."""
        self._fault = fault
        raise ValueError(fault.name)

    def send_400_response(self, msg: str) -> None:
        self.refuse(self._fault or Fault.INVALID)

    def refuse(self, fault: Fault) -> None:
        """Refuse the arriving request for `fault` and read no more requests; responses in progress are finished."""
        self._discarding = True
        cycle = self.cycle
        unanswered = cycle is not None and not cycle.response_complete
        if unanswered and (self.pipeline or cycle.response_started or not self._body_awaited):
            cycle.keep_alive = False
            return
        self._refused = True
        if unanswered:
            cycle.disconnected = True
            cycle.message_event.set()
        if unanswered or not self._body_awaited:  # otherwise it was answered early, before its body was complete
            self.transport.write(self.refusal(self._path(), fault, self.server_state.default_headers))
        self.transport.write_eof()

    def _path(self) -> str:
        url = getattr(self, "url", b"") or b""
        return url.partition(b"?")[0].decode("latin-1")

    # --- time limits

    def phase(self) -> Phase:
        cycle = self.cycle
        if self._refused or self.transport.is_closing():
            return Phase.END
        if cycle is not None and not cycle.response_complete:
            return Phase.BODY if self._body_awaited and not self.pipeline else Phase.ANSWER
        if self._body_awaited:
            return Phase.BODY
        return Phase.HEADERS if self._head_begun or not self._requests else Phase.NEXT_REQUEST

    def check_deadline(self) -> Phase:
        phase = self.phase()
        sweeps = self.sweeps_in((phase, self._requests))
        if phase is Phase.HEADERS and over(sweeps, settings.HEADER_SECONDS):
            if self._head_begun:
                self.refuse(Fault.SLOW_HEADERS)
            else:
                self.transport.close()
        elif phase is Phase.BODY and over(sweeps - self._body_bytes // BODY_BYTES_PER_SECOND, settings.BODY_SECONDS):
            self.refuse(Fault.SLOW_BODY)
        elif phase is Phase.NEXT_REQUEST and over(sweeps, settings.KEEP_ALIVE_SECONDS):
            self.transport.close()
        elif phase is Phase.END and over(sweeps, LINGER_SWEEPS if self._refused else settings.SEND_SECONDS):
            self.transport.abort()
        return phase

    def finish(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
