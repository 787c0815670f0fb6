"""A TCP proxy whose connections can go silent, as happens when another server takes over an address."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

# A target limits its connections, so those that the client has abandoned must not use up all of them.
FORGOTTEN_SECONDS = 30.0


class SilentLine:
    """Listens on a port and forwards to `target` until told to go silent.

    A silent connection still acknowledges the data that it drops. It runs in a separate thread, so tests may block.
    """

    def __init__(self, target: tuple[str, int], *, host: str = "127.0.0.1") -> None:
        self._target, self._host = target, host
        self._carried: set[_Carried] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="silent line", daemon=True)
        self._url = SplitResult("", "", "", "", "")
        self.port = 0
        # Whether new connections are silent from the start.
        self.silent_from_birth = False

    @classmethod
    def before(cls, url: str, default_port: int, **options: str) -> SilentLine:
        """Return a line to the address in `url`; it is not started yet."""
        parts = urlsplit(url)
        line = cls((parts.hostname or "127.0.0.1", parts.port or default_port), **options)
        line._url = parts
        return line

    @property
    def url(self) -> str:
        """The URL that reaches the target through this line."""
        user, at, _ = self._url.netloc.rpartition("@")
        return self._url._replace(netloc=f"{user}{at}{self._host}:{self.port}").geturl()

    def __enter__(self) -> SilentLine:
        self._thread.start()
        serving = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._accept, self._host, 0), self._loop)
        self._server = serving.result()
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *exception: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def silence(self, *, up: bool = True, down: bool = True) -> int:
        """Drop what existing connections send to the target, or receive from it; return the number of connections."""
        found = list(self._carried)
        for each in found:
            each.up, each.down = each.up or up, each.down or down
        return len(found)

    def cut(self) -> None:
        """Break every connection."""
        self._loop.call_soon_threadsafe(lambda: [each.task.cancel() for each in self._carried if each.task])

    def cut_silent(self) -> None:
        """Break the silent connections, and wait until they are gone."""
        silent = [each for each in list(self._carried) if each.up or each.down]
        asyncio.run_coroutine_threadsafe(_end(silent), self._loop).result()

    def shut(self) -> None:
        """Break every connection, and refuse new ones."""
        self._loop.call_soon_threadsafe(self._server.close)
        self.cut()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        carried = _Carried(self.silent_from_birth, self.silent_from_birth)
        self._carried.add(carried)
        task = carried.task = asyncio.ensure_future(carried.live(reader, writer, self._target))
        # A callback, not a `finally`: a task that is cancelled before its first step never runs.
        task.add_done_callback(lambda _: self._carried.discard(carried))
        task.add_done_callback(lambda _: writer.transport.abort())

    async def _close(self) -> None:
        self._server.close()
        await _end(self._carried)


async def _end(carried: Iterable[_Carried]) -> None:
    tasks = [each.task for each in carried if each.task is not None]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(eq=False)
class _Carried:
    """One connection through a SilentLine. `up` and `down` tell whether data in that direction is dropped."""

    up: bool
    down: bool
    task: asyncio.Task[None] | None = None

    async def live(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: tuple[str, int]) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection(*target)
        except OSError:
            return
        up = asyncio.create_task(self._carry(reader, inner_writer, "up"))
        down = asyncio.create_task(self._carry(inner_reader, writer, "down"))
        try:
            await asyncio.wait([up])
            # While `up` is dropped, the target learns of a closed connection only by its own timeouts.
            await asyncio.wait([down], timeout=FORGOTTEN_SECONDS if self.up else None)
        finally:
            up.cancel()
            down.cancel()
            inner_writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: str) -> None:
        """Copy one direction until its end. If the direction is silent, its end is dropped, too."""
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                if not getattr(self, direction):
                    writer.write(data)
                    await writer.drain()
        if not getattr(self, direction):
            with contextlib.suppress(OSError, RuntimeError):
                writer.close()
