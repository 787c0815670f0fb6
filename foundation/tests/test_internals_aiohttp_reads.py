"""The aiohttp transport of the client that calls upstreams, on the service's event loops."""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import socket
import termios
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import httpx2
import uvloop
from django.test import SimpleTestCase
from openai import DefaultAioHttpClient

from foundation.internals.aiohttp_reads import answer_behind, reads_from, with_socket_paused

PACKETS = 20
DELIVERY_SECONDS = 0.1


class Upstream:
    """Answers one request with the bytes that the test writes."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.writer = writer
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.asked.set()

    def say(self, data: bytes) -> None:
        self.writer.write(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self) -> None:
        self.writer.write(b"0\r\n\r\n")


@contextlib.asynccontextmanager
async def asked() -> AsyncIterator[tuple[Upstream, httpx2.Response]]:
    """Ask an upstream as `completions/providers/connection.py` does."""
    upstream = Upstream()
    server = await asyncio.start_server(upstream.handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with DefaultAioHttpClient(trust_env=False, timeout=httpx2.Timeout(None, connect=5)) as client:
        response = await client.send(client.build_request("GET", f"http://127.0.0.1:{port}/"), stream=True)
        try:
            await upstream.asked.wait()
            yield upstream, response
        finally:
            await response.aclose()
            upstream.writer.close()
            server.close()


def in_kernel(response: httpx2.Response) -> int:
    """Return how many bytes of an answer are in the kernel's buffer."""
    answer = answer_behind(response)
    assert answer is not None and answer.connection is not None and answer.connection.transport is not None
    link: socket.socket = answer.connection.transport.get_extra_info("socket")
    count = array.array("i", [0])
    fcntl.ioctl(link.fileno(), termios.FIONREAD, count)
    return count[0]


class AiohttpReadsTest(SimpleTestCase):
    def on_each_loop(self, test: Callable[[], Awaitable[None]]) -> None:
        for loop_factory in (asyncio.new_event_loop, uvloop.new_event_loop):
            with self.subTest(loop_factory.__module__), asyncio.Runner(loop_factory=loop_factory) as runner:
                runner.run(asyncio.wait_for(test(), 20))

    def test_the_answer_behind_the_clients_response_is_found(self):
        async def test() -> None:
            async with asked() as (_, response):
                self.assertIsInstance(answer_behind(response), aiohttp.ClientResponse)

        self.on_each_loop(test)

    def test_each_read_brings_what_has_arrived(self):
        async def test() -> None:
            async with asked() as (upstream, response), contextlib.aclosing(reads_from(response)) as reads:
                upstream.say(b"one")
                self.assertEqual(await anext(reads), b"one")
                for number in range(PACKETS):
                    upstream.say(b"%03d" % number)
                    await asyncio.sleep(0)
                await asyncio.sleep(DELIVERY_SECONDS)
                self.assertEqual(len(await anext(reads)), 3 * PACKETS)
                upstream.end()
                self.assertEqual([data async for data in reads], [])

        self.on_each_loop(test)

    def test_what_arrives_while_there_is_no_use_for_it_stays_in_the_kernel_and_comes_in_two_reads(self):
        async def test() -> None:
            waiting: list[int] = []

            async def ready() -> None:
                for number in range(PACKETS):
                    upstream.say(b"%03d" % number)
                    await asyncio.sleep(0)
                await asyncio.sleep(DELIVERY_SECONDS)
                waiting.append(in_kernel(response))

            async with asked() as (upstream, response), contextlib.aclosing(reads_from(response)) as reads:
                await ready()
                self.assertEqual(len(await anext(reads)), 3 * PACKETS)
                await with_socket_paused(response, ready)()
                # aiohttp's parser pauses with the socket, and pauses once more after the first chunk.
                self.assertEqual(len(await anext(reads)) + len(await anext(reads)), 3 * PACKETS)
                await ready()
            unpaused, paused, again = waiting
            self.assertEqual((unpaused, again), (0, 0))
            self.assertGreater(paused, 3 * PACKETS)

        self.on_each_loop(test)

    def test_a_finished_answer_is_not_paused(self):
        async def test() -> None:
            reading: list[bool] = []

            async def ready() -> None:
                reading.append(transport.is_reading())

            async with asked() as (upstream, response), contextlib.aclosing(reads_from(response)) as reads:
                answer = answer_behind(response)
                assert answer is not None and answer.connection is not None
                transport: Any = answer.connection.transport
                wait = with_socket_paused(response, ready)
                await wait()
                upstream.end()
                self.assertEqual([data async for data in reads], [])
                await wait()  # another request may use the connection by now
            self.assertEqual(reading, [False, True])

        self.on_each_loop(test)

    def test_the_answer_of_another_client_is_read_all_the_same(self):
        async def ready() -> None:
            """The reader is always ready for more."""

        async def test() -> None:
            transport = httpx2.MockTransport(lambda request: httpx2.Response(200, content=b"all of it"))
            async with httpx2.AsyncClient(transport=transport) as client:
                response = await client.send(client.build_request("GET", "http://127.0.0.1/"), stream=True)
                self.assertIsNone(answer_behind(response))
                self.assertIs(with_socket_paused(response, ready), ready)
                self.assertEqual(b"".join([data async for data in reads_from(response)]), b"all of it")

        self.on_each_loop(test)
