"""An OpenAI-compatible upstream that misbehaves on request: raw TCP, because it must send broken bytes.

The model's name chooses the behaviour, with arguments after colons (`slow:20ms:200`); `upstream_answers.py` and
`upstream_faults.py` list them. `clever` (`upstream_clever.py`) answers the question instead.
In a test: `with FaultyUpstream() as up: up.base_url`. By hand: `python -m completions.tests.upstream --port 9000`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import ssl
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from completions.tests.upstream_faults import answer
from completions.tests.upstream_wire import MODELS, Connection, HangUp

_UNBILLED = {400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 503}


@dataclass
class Recorded:
    """One request as received; `hung_up` and `at` are seconds of time.monotonic().

    `metered` counts the words that it `produced`, and keeps the `usage` that it reported, if it came that far.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    at: float
    status: int = 0
    sent: int = 0
    finished: bool = False
    hung_up: float | None = None
    released: bool = False
    produced: int = 0
    usage: dict[str, Any] | None = None


@dataclass
class FaultyUpstream:
    """Runs in a separate thread with its own event loop, on a free port unless one is given."""

    host: str = "127.0.0.1"
    port: int = 0
    tls: ssl.SSLContext | None = None
    models: list[Any] | dict[str, Any] = field(default_factory=lambda: MODELS)
    requests: list[Recorded] = field(default_factory=list)
    connections: int = 0
    open_connections: int = 0

    @property
    def base_url(self) -> str:
        return f"http{'s' if self.tls else ''}://{self.host}:{self.port}/v1"

    @property
    def posts(self) -> list[Recorded]:
        """Every completion requested."""
        return [request for request in self.requests if request.method == "POST"]

    @property
    def billable_posts(self) -> list[Recorded]:
        """The completions that a real upstream might bill: all except those refused outright."""
        return [request for request in self.posts if request.status not in _UNBILLED]

    def asked(self, marker: str) -> list[Recorded]:
        """The billable completions with `marker` in their messages."""
        return [post for post in self.billable_posts if marker in str(post.body.get("messages"))]

    def release(self, marker: str, timeout: float = 15.0) -> None:
        """Let `held` send the rest of its answer to the request that contains `marker`; a marker works once per run."""
        limit = time.monotonic() + timeout
        while not (asked := self.asked(marker)):
            assert time.monotonic() < limit, f"nobody asked {marker}"
            time.sleep(0.005)
        for each in asked:
            each.released = True

    @property
    def hangups(self) -> list[Recorded]:
        """The requests whose client left before the answer was complete."""
        return [request for request in self.requests if request.hung_up is not None]

    def wait_for_hangup(self, count: int = 1, timeout: float = 1.0) -> bool:
        """Whether this many clients have disconnected within `timeout` seconds."""
        limit = time.monotonic() + timeout
        while len(self.hangups) < count and time.monotonic() < limit:
            time.sleep(0.005)
        return len(self.hangups) >= count

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="faulty-upstream", daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.start(), self._loop).result(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self.stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def start(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._server = await asyncio.start_server(self._serve, self.host, self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # gives the transports time to close

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.open_connections += 1
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.open_connections -= 1
            self._tasks.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; return whether the connection can take another."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ", 2)
        headers = {key.strip().lower(): value.strip() for key, _, value in (line.partition(":") for line in head[1:])}
        raw = await reader.readexactly(int(headers.get("content-length") or 0))
        recorded = Recorded(method, path, headers, json.loads(raw) if raw else None, time.monotonic())
        self.requests.append(recorded)
        connection = Connection(writer, recorded)
        work = asyncio.create_task(answer(connection, self.models))
        gone = asyncio.create_task(reader.read(1))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():  # no client pipelines, so another byte or the end means that the client has left
                recorded.hung_up = time.monotonic()
                return False
            if isinstance(work.exception(), HangUp | ConnectionError):
                if isinstance(work.exception(), ConnectionError):
                    recorded.hung_up = time.monotonic()
                return False
            work.result()
            recorded.finished = True
            return connection.keep_alive and not gone.done()
        finally:
            for task in (work, gone):
                task.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)


async def _main(host: str, port: int) -> None:
    upstream = FaultyUpstream(host, port)
    await upstream.start()
    print(f"listening on {upstream.base_url}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9000)
    options = parser.parse_args()
    try:
        asyncio.run(_main(options.host, options.port))
    except KeyboardInterrupt:
        pass
