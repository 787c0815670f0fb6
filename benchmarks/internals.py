"""The gains of the hooks in `foundation/internals/` that no other benchmark shows: `python -m benchmarks.internals`.

Each hook is measured off and on, on loopback, in four minutes altogether: threads taking turns at the interpreter,
reads of many upstream answers, connections that are under way while a process stops listening, and websockets whose
clients flood them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import socket
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import httpx2
import uvicorn
import uvloop

from benchmarks.competitors import start_upstream
from benchmarks.processes import HOST, Process, environment, free_port
from foundation.internals import interpreter, listeners
from foundation.internals.uvicorn.connections import Connections
from foundation.internals.uvicorn.http_protocol import BoundedHttpProtocol
from foundation.internals.uvicorn.websocket_protocol import BoundedWebSocketProtocol
from scripts.procfs import peak_bytes, tree

# --- threads taking turns

COMMITS = 50
STATEMENTS = 8
STATEMENT_SECONDS = 0.0003


def echo(link: socket.socket) -> None:
    """Echo each message after a short delay: this plays the database that a committing thread waits for."""
    while data := link.recv(1_000):
        time.sleep(STATEMENT_SECONDS)
        link.sendall(data)


def commit_beside_busy_loop() -> float:
    """Return the median milliseconds of STATEMENTS round trips in one thread while another thread computes."""
    taken: list[float] = []
    here, there = socket.socketpair()
    database = multiprocessing.Process(target=echo, args=(there,), daemon=True)
    database.start()
    there.close()

    def work() -> None:
        for _ in range(COMMITS):
            began = time.perf_counter()
            for _ in range(STATEMENTS):
                here.sendall(b"INSERT")
                here.recv(1_000)
            taken.append((time.perf_counter() - began) * 1000)

    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive():
        sum(range(1_000))
    database.terminate()
    database.join()
    here.close()
    return median(taken)


def measure_switch_interval() -> None:
    before = sys.getswitchinterval()
    without = commit_beside_busy_loop()
    interpreter.shorten_switch_interval()
    with_it = commit_beside_busy_loop()
    sys.setswitchinterval(before)
    print(f"a commit of {STATEMENTS} statements beside a busy loop: {without:.1f} ms, shortened {with_it:.1f} ms")


# --- reads of upstream answers

STREAMS = 200
ROUNDS = 3
MODEL = "paced-20ms-150"
TOKENS = STREAMS * 150
STORE_SECONDS = 0.055  # seconds; with hundreds of streams the service uses the data only once per frame, this far apart


async def read_answers(port: int) -> float:
    """Read STREAMS answers at once, as fast as the service stores them; return µs of CPU per token."""
    # Imported here, because the last measurement's server imports this module and must not load the provider.
    from completions.providers.openai_compatible import OpenAICompatible
    from completions.types import CompletionRequest

    provider = OpenAICompatible("bench", base_url=f"http://{HOST}:{port}/v1", api_key="bench", retries=0)

    async def ready() -> None:
        await asyncio.sleep(STORE_SECONDS)

    async def read(number: int) -> None:
        await asyncio.sleep(number / STREAMS)
        messages = ({"role": "user", "content": f"Question {number:010d}: what is made of ordinary words?"},)
        request = CompletionRequest(model=MODEL, messages=messages)
        async for _ in provider.stream(request, ready=ready):
            pass

    began = time.process_time()
    await asyncio.gather(*map(read, range(STREAMS)))
    spent = time.process_time() - began
    await provider.close()
    return spent / TOKENS * 1e6


def without_pausing(response: httpx2.Response, ready: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    return ready


def through_client(response: httpx2.Response) -> AsyncIterator[bytes]:
    return response.aiter_raw()


def measure_reads() -> None:
    reading, relaying = "completions.providers.reading", "completions.providers.http_provider"
    variants: dict[str, dict[str, Callable[..., Any]]] = {
        "through the client": {
            f"{relaying}.reads_from": through_client,
            f"{reading}.with_socket_paused": without_pausing,
        },
        "off aiohttp's stream": {f"{reading}.with_socket_paused": without_pausing},
        "and the socket paused": {},
    }
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        upstream = start_upstream(Path(directory))
        stack.callback(upstream.stop)
        upstream.wait_ready(10)
        spent: dict[str, list[float]] = {name: [] for name in variants}
        for _ in range(ROUNDS):
            for name, replaced in variants.items():
                with contextlib.ExitStack() as patches:
                    for target, replacement in replaced.items():
                        patches.enter_context(mock.patch(target, replacement))
                    spent[name].append(uvloop.run(read_answers(upstream.port)))
    for name, each in spent.items():
        print(f"{STREAMS} answers, a token every 20 ms, {name}: {median(each):.1f} µs of CPU a token")


# --- connections under way while a process stops listening

STOPS = 10
BUSY_SECONDS = 0.05  # how long the event loop is blocked before it stops listening; it accepts nothing in that time
CLIENTS = 50


class Greeter(asyncio.Protocol):
    """Greets each client and closes the connection."""

    def connection_made(self, transport: Any) -> None:
        transport.write(b"hello")
        transport.close()


def connect_until_refused(port: int, cut: list[int]) -> None:
    """Connect repeatedly; record each connection that was established and then reset."""
    while True:
        try:
            link = socket.create_connection((HOST, port), timeout=5)
        except OSError:
            return
        with link:
            try:
                greeted = link.recv(10) == b"hello"
            except OSError:
                greeted = False
        if not greeted:
            cut.append(port)


async def stop_once(close: Callable[[Any], Awaitable[None]], cut: list[int]) -> None:
    server = await asyncio.get_running_loop().create_server(Greeter, HOST, 0, backlog=2048)
    port = server.sockets[0].getsockname()[1]
    clients = [threading.Thread(target=connect_until_refused, args=(port, cut)) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    await asyncio.sleep(0.2)
    time.sleep(BUSY_SECONDS)  # noqa: ASYNC251  that is what it is about
    await close(server)
    while any(client.is_alive() for client in clients):
        await asyncio.sleep(0.02)


async def close_only(server: Any) -> None:
    server.close()


async def close_with_queue(server: Any) -> None:
    await listeners.close_listeners([server], Greeter)


def leave_newcomers(listener: socket.socket) -> None:
    """Do nothing, in place of `drop_new_connections`."""


def measure_listeners() -> None:
    newcomers = mock.patch.object(listeners, "drop_new_connections", leave_newcomers)
    variants: dict[str, tuple[Callable[[Any], Awaitable[None]], contextlib.AbstractContextManager[object]]] = {
        "only closed": (close_only, contextlib.nullcontext()),
        "emptied and closed": (close_with_queue, newcomers),
        "deaf to newcomers first": (close_with_queue, contextlib.nullcontext()),
    }
    for name, (close, patched) in variants.items():
        cut: list[int] = []
        with patched:
            for _ in range(STOPS):
                uvloop.run(stop_once(close, cut))
        print(f"{STOPS} stops under {CLIENTS} connecting clients, the listener {name}: {len(cut)} connections cut off")


# --- websockets that are flooded

FLOOD_SECONDS = 5.0
SOCKETS = 8
MASK = b"\x00" * 4
FLOODS = {
    "empty fragments": b"\x00\x80" + MASK,
    "pings": b"\x89\xe4" + MASK + b"x" * 100,
}


async def deaf(scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
    """Accept websockets and never read from them."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await asyncio.Event().wait()
    elif scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})


def serve(kind: str, port: int) -> None:
    """Run `deaf` on plain uvicorn, or with the bounded protocols."""
    bounded = kind == "bounded"
    config = uvicorn.Config(
        deaf,
        host=HOST,
        port=port,
        loop="uvloop",
        http=BoundedHttpProtocol if bounded else "httptools",
        ws=BoundedWebSocketProtocol if bounded else "websockets-sansio",
        lifespan="off",
        timeout_graceful_shutdown=1,
        log_level="error",
    )
    server = uvicorn.Server(config)
    if bounded:
        server.server_state = Connections()
    server.run()


def open_socket(port: int) -> socket.socket:
    link = socket.create_connection((HOST, port), timeout=5)
    link.sendall(
        f"GET / HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {'A' * 22}==\r\n\r\n".encode()
    )
    assert b" 101 " in link.recv(2_000)
    link.settimeout(0.05)
    return link


def flood(port: int, endless: bytes) -> None:
    """Send the same frame repeatedly over SOCKETS connections, and read nothing."""
    with contextlib.ExitStack() as stack:
        links = [stack.enter_context(open_socket(port)) for _ in range(SOCKETS)]
        for link in links:
            link.send(b"\x01\x80" + MASK)
        until = time.monotonic() + FLOOD_SECONDS
        while links and time.monotonic() < until:
            for link in list(links):
                try:
                    link.send(endless * (65_536 // len(endless)))
                except TimeoutError:
                    pass
                except OSError:
                    links.remove(link)


@contextlib.contextmanager
def running(kind: str) -> Iterator[Process]:
    with tempfile.TemporaryDirectory() as directory:
        port = free_port()
        argv = [sys.executable, "-m", "benchmarks.internals", "--serve", kind, "--port", str(port)]
        env = environment(VAR_DIR=directory, DJANGO_SETTINGS_MODULE="chatservice.settings")
        process = Process(kind, argv, port=port, ready="/", env=env, logs=Path(directory))
        try:
            process.wait_ready(20)
            yield process
        finally:
            process.stop()


def measure_websockets() -> None:
    for name, endless in FLOODS.items():
        grown = {}
        for kind in ("plain", "bounded"):
            with running(kind) as process:
                before = peak_bytes(tree(process.pid))
                flood(process.port, endless)
                grown[kind] = (peak_bytes(tree(process.pid)) - before) / 1e6
        print(
            f"{SOCKETS} websockets, {name} for {FLOOD_SECONDS} s: +{grown['plain']:.0f} MB, "
            f"bounded +{grown['bounded']:.0f} MB"
        )


MEASURES = {
    "switch-interval": measure_switch_interval,
    "reads": measure_reads,
    "listeners": measure_listeners,
    "websockets": measure_websockets,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", choices=MEASURES)
    parser.add_argument("--serve", choices=("plain", "bounded"), help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.port)
        return
    for name, measure in MEASURES.items():
        if options.only in (None, name):
            measure()


if __name__ == "__main__":
    main()
