"""`python -m tests.chaos.uploads PORT COUNT`: send uploads of 300 MB, all at once; print which were refused."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys

UPLOAD_BYTES = 300_000_000


async def upload(port: int, secret: str, chunked: bool) -> bool:
    """Send up to 300 MB, as long as the service accepts data; return whether it was refused."""
    block = b"x" * 262_144
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    how = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {UPLOAD_BYTES}"
    head = f"POST /v1/chat/conversations/stream HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{how}\r\n"
    writer.write(f"{head}Authorization: Bearer {secret}\r\nContent-Type: application/json\r\n\r\n".encode())
    answer = asyncio.create_task(reader.read(4096))
    sent = 0
    with contextlib.suppress(OSError):
        async with asyncio.timeout(60):
            while sent < UPLOAD_BYTES and not answer.done():
                writer.write(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
                await writer.drain()
                sent += len(block)
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(10):
            said = await answer
            writer.transport.abort()
            return said.startswith(b"HTTP/1.1 413") or not said
    writer.transport.abort()
    return sent < UPLOAD_BYTES


async def main(port: int, count: int) -> None:
    work = [upload(port, os.environ["CHAOS_KEY"], number % 2 == 0) for number in range(count)]
    print(json.dumps(await asyncio.gather(*work)))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
