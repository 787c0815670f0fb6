"""Hand-written HTTP and server-sent events over asyncio: a client that sees every byte and can leave at any byte."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

PATIENCE = 20.0


@dataclass(slots=True)
class Exchange:
    """One request as its client saw it, in Unix seconds; `ended` is 0 until the whole body has arrived.

    `status` is 0 until the headers have arrived. `by` has the addresses that a proxy asked, if it says so.
    """

    port: int
    method: str
    path: str
    began: float
    status: int = 0
    by: str = ""
    from_proxy: bool = False
    ended: float = 0.0


exchanges: list[Exchange] | None = None
"""While this is a list, each request is added to it."""


class Cut(Exception):
    """The connection broke, or nothing arrived for too long."""


class Refused(Exception):
    """The service answered with an error."""

    def __init__(self, status: int, text: str, headers: dict[str, str]) -> None:
        super().__init__(f"{status} {text[:300]}")
        self.status, self.text, self.headers = status, text, headers

    @property
    def says_when(self) -> bool:
        """Tell whether the error says when to retry."""
        said = ("retry_after", "retryAfter", "Try again in ")
        return "retry-after" in self.headers or any(each in self.text for each in said)

    @property
    def is_from_proxy(self) -> bool:
        """Tell whether nginx answered because no process did."""
        return is_from_proxy(self.status, self.headers)


def is_from_proxy(status: int, headers: dict[str, str]) -> bool:
    return status in (502, 503, 504) and headers.get("content-type", "").startswith("text/html")


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event."""

    data: str
    name: str = "message"
    id: str = ""


@dataclass
class Answer:
    """A response whose body is still arriving. `got` is the number of body bytes so far."""

    status: int
    headers: dict[str, str]
    reader: asyncio.StreamReader
    patience: float
    exchange: Exchange
    got: int = 0
    raw: bytearray = field(default_factory=bytearray)

    async def parts(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives; raises Cut if it ends too early."""
        if "chunked" in self.headers.get("transfer-encoding", ""):
            while size := int((await self._line()).split(b";")[0], 16):
                yield await self._exactly(size)
                await self._exactly(2)
            await self._line()
        else:
            left = int(self.headers.get("content-length") or 0)
            if left:
                yield await self._exactly(left)
        self.exchange.ended = time.time()

    async def body(self) -> str:
        return b"".join([part async for part in self.parts()]).decode()

    async def events(self) -> AsyncIterator[Event]:
        buffer = b""
        async for part in self.parts():
            buffer += part
            *blocks, buffer = buffer.split(b"\n\n")
            for block in blocks:
                if (event := read_event(block.decode())) is not None:
                    yield event

    async def _line(self) -> bytes:
        return await _patiently(self.reader.readuntil(b"\n"), self.patience)

    async def _exactly(self, size: int) -> bytes:
        data = await _patiently(self.reader.readexactly(size), self.patience)
        self.got += size
        self.raw += data
        return data


async def _patiently(reading: Any, patience: float) -> bytes:
    try:
        async with asyncio.timeout(patience):
            return await reading
    except (asyncio.IncompleteReadError, ConnectionError, TimeoutError, ValueError) as broken:
        raise Cut(type(broken).__name__) from None


def read_event(block: str) -> Event | None:
    fields: dict[str, str] = {}
    for line in block.split("\n"):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        fields[name] = f"{fields[name]}\n{value}" if name == "data" and name in fields else value
    if "data" not in fields and "id" not in fields:
        return None
    return Event(
        fields.get("data", ""), fields.get("event", "message" if "data" in fields else ""), fields.get("id", "")
    )


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect on loopback; if the caller is cancelled meanwhile, the new connection is closed."""
    work = asyncio.ensure_future(asyncio.open_connection("127.0.0.1", port))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        work.add_done_callback(_drop)
        raise


def _drop(work: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> None:
    if not work.cancelled() and work.exception() is None:
        work.result()[1].transport.abort()


@contextlib.asynccontextmanager
async def request(
    port: int,
    method: str,
    path: str,
    *,
    secret: str = "",
    body: Any = None,
    patience: float = PATIENCE,
    **headers: str,
) -> AsyncIterator[Answer]:
    """Ask, and yield the answer once its headers arrived; raises Cut, OSError, or Refused for 400 and above.

    When the block ends, the connection is closed at once, even if more data is arriving.
    """
    payload = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Content-Length: {len(payload)}"]
    if secret:
        lines.append(f"Authorization: Bearer {secret}")
    if payload:
        lines.append("Content-Type: application/json")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    exchange = Exchange(port, method, path, time.time())
    if exchanges is not None:
        exchanges.append(exchange)
    reader, writer = await connect(port)
    try:
        try:
            writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + payload)
        except RuntimeError:  # uvloop: the connection broke as soon as it was made
            raise Cut("closed") from None
        head = (await _patiently(reader.readuntil(b"\r\n\r\n"), patience)).decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in head[1:] if line)
        found = {name.strip().lower(): value.strip() for name, _, value in pairs}
        answer = Answer(int(head[0].split()[1]), found, reader, patience, exchange)
        exchange.status, exchange.by = answer.status, found.get("x-upstream", "")
        exchange.from_proxy = is_from_proxy(answer.status, found)
        answer.raw += head[0].encode() + repr(found).encode()
        if answer.status >= 400:
            raise Refused(answer.status, await answer.body(), found)
        yield answer
    finally:
        writer.transport.abort()


async def call(port: int, method: str, path: str, **options: Any) -> Any:
    """Ask, and return the whole JSON answer."""
    async with request(port, method, path, **options) as answer:
        text = await answer.body()
        return json.loads(text) if text else None
