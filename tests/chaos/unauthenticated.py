"""`python -m tests.chaos.unauthenticated PORT SLOW ENDLESS`: clients without a key, until the input ends.

Some send their headers slowly and never the last one, some send endless headers. Prints when all were connected
at the same time, and at the end how they were disconnected.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections import Counter

HEAD = b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n"
BLOCK = b"X-Endless: and so on\r\n" * 3_000
# Several addresses, because otherwise only the limit per address would be tested.
ADDRESSES = 40


async def _slow(port: int, number: int, facts: Counter[str]) -> None:
    """Send a header every few seconds, but never the last one."""
    address = f"127.0.0.{2 + number % ADDRESSES}"
    while True:
        with contextlib.suppress(OSError, EOFError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0), limit=4_096)
            facts["connections"] += 1
            writer.write(HEAD)
            try:
                while True:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(3):
                            facts["answers 408"] += (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 408")
                            break
                    writer.write(b"X: y\r\n")
                    await writer.drain()
            finally:
                writer.transport.abort()
        await asyncio.sleep(1)


async def _endless(port: int, facts: Counter[str]) -> None:
    """Send headers as fast as possible, and reconnect when the service closes the connection."""
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            facts["connections"] += 1
            writer.write(HEAD)
            try:
                while True:
                    writer.write(BLOCK)
                    await writer.drain()
                    facts["blocks of headers"] += 1
            finally:
                writer.transport.abort()


async def main(port: int, slow: int, endless: int) -> None:
    facts: Counter[str] = Counter()
    crowd = [asyncio.create_task(_slow(port, number, facts)) for number in range(slow)]
    crowd += [asyncio.create_task(_endless(port, facts)) for _ in range(endless)]
    while facts["connections"] < slow + endless:
        await asyncio.sleep(0.05)
    print("there", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for each in crowd:
        each.cancel()
    print(json.dumps(facts))


if __name__ == "__main__":
    asyncio.run(main(*(int(each) for each in sys.argv[1:])))
