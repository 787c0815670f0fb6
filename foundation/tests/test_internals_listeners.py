"""Closing a listening socket while clients connect to it: the kernel's filter, and the queue."""

from __future__ import annotations

import asyncio
import socket
import sys
import unittest

from django.test import SimpleTestCase

from foundation.internals.listeners import close_listeners, drop_new_connections

CLIENTS = 20


class Greeter(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(b"hello")
        transport.close()


@unittest.skipUnless(sys.platform == "linux", "the filter is Linux's")
class FilterTest(SimpleTestCase):
    def test_who_is_in_the_queue_stays_and_who_comes_later_is_not_heard(self):
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as late:
            address = listener.getsockname()
            with socket.create_connection(address, timeout=5) as early:
                drop_new_connections(listener)
                late.settimeout(0.3)
                with self.assertRaises(TimeoutError):  # neither accepted nor refused
                    late.connect(address)
                listener.settimeout(5)
                accepted, client = listener.accept()
                with accepted:
                    self.assertEqual(client, early.getsockname())
                    # The filter does not affect established connections.
                    early.sendall(b"question")
                    self.assertEqual(accepted.recv(100), b"question")


class QueueTest(SimpleTestCase):
    def test_who_waits_in_the_queue_is_accepted_before_it_is_closed(self):
        asyncio.run(self.close_with_clients_in_queue())

    async def close_with_clients_in_queue(self) -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Greeter, "127.0.0.1", 0)
        listener = server.sockets[0]
        address = listener.getsockname()
        loop.remove_reader(listener.fileno())  # as if the loop were busy until the end
        links = [socket.create_connection(address, timeout=5) for _ in range(CLIENTS)]
        await close_listeners([server], Greeter)
        greeted = await asyncio.gather(*(asyncio.to_thread(link.recv, 100) for link in links))
        for link in links:
            link.close()
        self.assertEqual(greeted, [b"hello"] * CLIENTS)
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(address, timeout=5)
