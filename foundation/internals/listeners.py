"""Stop listening without resetting connections that the kernel has accepted already.

What it reaches for is a filter in the kernel. In ten stops under 50 connecting clients a listener that was only closed
cut off 500 connections, one whose queue was emptied 20, one that was deaf to newcomers before that none
(`python -m benchmarks.internals --only listeners`).
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
import struct
from collections.abc import Callable, Iterable
from typing import Any

# By then the TCP handshakes that had begun are complete.
HANDSHAKE_SECONDS = 0.1
SO_ATTACH_FILTER = 26  # as Linux has it
# A filter for the TCP segments that a listening socket gets: load the flags; keep those with ACK, drop the rest (SYN).
DROP_SYN = ((0x30, 0, 0, 13), (0x45, 0, 1, 0x10), (0x06, 0, 0, 0xFFFFFFFF), (0x06, 0, 0, 0))


async def close_listeners(servers: Iterable[Any], factory: Callable[[], asyncio.Protocol]) -> None:
    """Close the listening sockets; connections that wait in their queues get a protocol of `factory` first.

    Closing a listening socket resets what is in its queue. So new connections are dropped first (the client's
    kernel tries again after a second, and is refused then), and the queue is emptied.
    """
    loop = asyncio.get_running_loop()
    servers = list(servers)
    duplicates = [socket.socket(fileno=os.dup(each.fileno())) for server in servers for each in server.sockets]
    for duplicate in duplicates:
        drop_new_connections(duplicate)
    await asyncio.sleep(HANDSHAKE_SECONDS)
    for server in servers:
        server.close()
    for duplicate in duplicates:
        with duplicate, contextlib.suppress(BlockingIOError):
            duplicate.setblocking(False)
            while True:
                link, _ = duplicate.accept()
                await loop.connect_accepted_socket(factory, link)


def drop_new_connections(listener: socket.socket) -> None:
    """Have the kernel ignore attempts to connect, on Linux; elsewhere nothing happens."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in DROP_SYN))
    program = struct.pack("HL", len(DROP_SYN), ctypes.addressof(code))
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
