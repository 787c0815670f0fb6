"""What pictures in requests cost: `python -m benchmarks.pictures`, about a minute.

CALLERS send a body of 32 MiB each at the same time, most of it one picture, which the model's server has to get; then
one of 4 MB is resent in a history ten times. Printed are the memory of the service's process before and at its peak,
and what is stored.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import re
import secrets
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.processes import HOST, Process, environment, free_port, run
from scripts.procfs import cpu_seconds, resident_bytes, tree

CALLERS, MEBIBYTE = 60, 1_048_576
LARGE, USUAL, TIMES = 25_100_000, 4_000_000, 10
ANSWER_SECONDS = 1.0
ANSWER = {"role": "assistant", "content": "A whale."}
SAMPLE_SECONDS = 0.01


class Upstream:
    """A model's server that counts what it gets, and keeps nothing of it."""

    def __init__(self) -> None:
        self.received: list[int] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = re.search(rb"(?i)content-length: (\d+)", head)
                left = size = int(length[1]) if length else 0
                while left:
                    left -= len(await reader.read(min(left, MEBIBYTE)))
                self.received.append(size)
                await asyncio.sleep(ANSWER_SECONDS)
                choice = {"index": 0, "message": ANSWER, "finish_reason": "stop"}
                body = json.dumps({"id": "1", "object": "chat.completion", "model": "m", "choices": [choice]}).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
                )
                writer.write(body)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()


def question(size: int, seed: int) -> str:
    """Return a message with a picture of `size` bytes as JSON."""
    picture = base64.b64encode(b"\x89PNG\r\n\x1a\n" + random.Random(seed).randbytes(size)).decode()
    parts = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}},
    ]
    return json.dumps({"role": "user", "content": parts})


async def ask(port: int, key: str, messages: str) -> None:
    """Ask once; raises if the answer is not 200."""
    body = f'{{"model": "default", "messages": [{messages}]}}'.encode()
    reader, writer = await asyncio.open_connection(HOST, port)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {key}\r\n"
    writer.write(
        f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
    )
    for at in range(0, len(body), MEBIBYTE):
        writer.write(body[at : at + MEBIBYTE])
        await writer.drain()
    answer = await reader.read()
    writer.close()
    if b" 200 " not in answer[:20]:
        raise RuntimeError(answer[:500])


async def highest(pid: int, work: asyncio.Task[None]) -> int:
    """Return the most memory that a process and its children have until `work` is done."""
    most = 0
    while not work.done():
        most = max(most, resident_bytes(tree(pid)))
        await asyncio.wait([work], timeout=SAMPLE_SECONDS)
    await work
    return most


async def at_once(port: int, key: str) -> None:
    message = question(LARGE, 1)  # one for all: equal content of one owner is stored once, and received 60 times
    await asyncio.gather(*(ask(port, key, message) for _ in range(CALLERS)))


async def resent(port: int, key: str) -> None:
    history = question(USUAL, 2)
    for number in range(TIMES):
        await ask(port, key, history)
        history += f", {json.dumps(ANSWER)}, {json.dumps({'role': 'user', 'content': f'Sure? {number}'})}"


async def measure(process: Process, port: int, key: str, files: Path, upstream: Upstream) -> None:
    server = await asyncio.start_server(upstream.answer, HOST, int(port))
    async with server:
        await ask(process.port, key, question(USUAL, 3))  # imports, connections, threads
        for name, job in (("60 bodies of 32 MiB at once", at_once), (f"4 MB resent {TIMES} times", resent)):
            before, spent, began = resident_bytes(tree(process.pid)), cpu_seconds(tree(process.pid)), time.monotonic()
            upstream.received.clear()
            stored = _bytes_in(files)
            most = await highest(process.pid, asyncio.create_task(job(process.port, key)))
            stored, sent = _bytes_in(files) - stored, sum(upstream.received)
            took, spent = time.monotonic() - began, cpu_seconds(tree(process.pid)) - spent
            figures = f"{before / 1e6:.0f} | {most / 1e6:.0f} | {stored / 1e6:.1f} | {sent / 1e6:,.0f}"
            print(f"| {name} | {figures} | {took:.1f} | {spent:.1f} |", flush=True)


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    print("| | MB before | MB at the peak | MB stored | MB to the model's server | s | s of CPU |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        asked = free_port()
        env = environment(
            VAR_DIR=name,
            SECRET_KEY=secrets.token_urlsafe(48),
            KEY_PEPPER=secrets.token_urlsafe(48),
            SEARCH_EMBEDDER="hashing",
            LOG_LEVEL="ERROR",
            OPENAI_BASE_URL=f"http://{HOST}:{asked}/v1",
            OPENAI_API_KEY="bench-key-upstream",
            MAX_SPOOLED_BYTES="0",
        )
        manage = [sys.executable, "manage.py"]
        run([*manage, "migrate", "-v", "0"], env=env)
        run([*manage, "create_user", "bench", "--password", secrets.token_urlsafe(16)], env=env)
        key = run([*manage, "create_api_key", "bench"], env=env).split()[-1]
        port = free_port()
        given = {**env, "HOST": HOST, "PORT": str(port)}
        command = [sys.executable, "-m", "chatservice.server"]
        process = Process("pictures", command, port=port, ready="/readyz", env=given, logs=Path(name))
        try:
            process.wait_ready(60)
            asyncio.run(measure(process, asked, key, Path(name) / "files", Upstream()))
        finally:
            process.stop()


if __name__ == "__main__":
    main()
