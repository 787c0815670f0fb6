"""A receiver of webhooks on loopback that can fail, hang, redirect and answer without end."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Received:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        return json.loads(self.body)


@dataclass
class Receiver:
    """Answers each request as the next of `answers` says, and with 200 after them: a status, or what it does instead.

    `hang` says nothing, `drip` sends a header a byte at a time, `endless` a body without an end, `slow` 200 late.
    """

    answers: list[int | str] = field(default_factory=list)
    redirect_to: str = ""
    retry_after: str = ""
    received: list[Received] = field(default_factory=list)
    tls: ssl.SSLContext | None = None

    def __enter__(self) -> Self:
        receiver = self
        self._over = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                receiver._handle(self)

            do_GET = do_POST

            def log_message(self, *args: Any) -> None:
                """Print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if self.tls is not None:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        self._lock = threading.Lock()
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *args: object) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self._server.server_port}/hooks"

    def _handle(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in request.headers.items()}
        with self._lock:
            self.received.append(Received(request.path, headers, body))
            answer = self.answers.pop(0) if self.answers else 200
        try:
            self._answer(request, answer)
        except OSError:  # the other side has given up
            request.close_connection = True

    def _answer(self, request: BaseHTTPRequestHandler, answer: int | str) -> None:
        match answer:
            case int():
                request.send_response(answer)
                if 300 <= answer < 400:
                    request.send_header("Location", self.redirect_to)
                if self.retry_after:
                    request.send_header("Retry-After", self.retry_after)
                request.send_header("Content-Length", "2")
                request.end_headers()
                request.wfile.write(b"ok")
            case "hang":
                self._over.wait(60)
            case "slow":
                self._over.wait(1)
                self._answer(request, 200)
            case "drip":
                for letter in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10_000:
                    request.connection.sendall(bytes([letter]))
                    if self._over.wait(0.05):
                        return
            case "endless":
                request.connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
                request.connection.settimeout(5)
                while not self._over.is_set():
                    request.connection.sendall(b"x" * 65_536)


def unused_url() -> str:
    """Return an address where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return f"http://127.0.0.1:{closed.getsockname()[1]}/hooks"
