"""What clients without a key cost each server: `python -m benchmarks.unauthenticated`, about two minutes.

It measures the memory that endless headers use, the connections that half-sent requests keep open, and the CPU time of
small requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.competitors import server_command
from benchmarks.processes import HOST, Process, environment, free_port, run
from scripts.procfs import cpu_seconds, resident_bytes, tree

ENDLESS_SECONDS = 1.2
HALF_SENT = 200
PATIENCE_SECONDS = 15.0
CLIENTS = 16
SMALL_SECONDS = 4.0
ROUNDS = 3
HEAD = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\nUser-Agent: benchmark\r\n"


def commands(port: int) -> dict[str, list[str]]:
    uvicorn = server_command("uvicorn", port)
    h11 = [part.replace("httptools", "h11") for part in uvicorn]
    return {
        "chatservice.server": [sys.executable, "-m", "chatservice.server"],
        "uvicorn, httptools": uvicorn,
        "uvicorn, h11": [*h11, "--h11-max-incomplete-event-size", "16384"],
        "granian": server_command("granian", port),
    }


def endless(process: Process) -> float:
    """Send endless headers over one connection after another; return the memory growth in MB."""
    before = resident_bytes(tree(process.pid))
    until = time.monotonic() + ENDLESS_SECONDS
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection((HOST, process.port), timeout=1) as link:
            link.sendall(HEAD)
            while time.monotonic() < until:
                link.sendall(b"X-Endless: and so on\r\n" * 3_000)
    return (resident_bytes(tree(process.pid)) - before) / 1e6


def half_sent(process: Process) -> int:
    """Send half a request on HALF_SENT connections; return how many are still open after PATIENCE_SECONDS."""
    links = [socket.create_connection((HOST, process.port)) for _ in range(HALF_SENT)]
    for link in links:
        link.sendall(HEAD)
    time.sleep(PATIENCE_SECONDS)
    held = 0
    for link in links:
        link.setblocking(False)
        try:
            link.recv(65_536)
        except BlockingIOError:
            held += 1
        except OSError:
            pass
        link.close()
    return held


async def small(process: Process) -> tuple[float, float]:
    """Return requests per second over CLIENTS connections, and µs of CPU for each."""
    count, until = 0, time.monotonic() + SMALL_SECONDS

    async def client() -> None:
        nonlocal count
        reader, writer = await asyncio.open_connection(HOST, process.port)
        while time.monotonic() < until:
            writer.write(HEAD + b"\r\n")
            await reader.readuntil(b'{"status":"ok"}')
            count += 1
        writer.close()

    spent = cpu_seconds(tree(process.pid))
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return count / SMALL_SECONDS, (cpu_seconds(tree(process.pid)) - spent) / count * 1e6


def main() -> None:
    print("| server | memory after endless headers | half-sent requests open | small requests/s | CPU µs each |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        env = environment(
            VAR_DIR=name,
            SECRET_KEY=secrets.token_urlsafe(48),
            KEY_PEPPER=secrets.token_urlsafe(48),
            SEARCH_EMBEDDER="hashing",
            LOG_LEVEL="ERROR",
        )
        run([sys.executable, "manage.py", "migrate", "-v", "0"], env=env)
        for server in commands(0):
            port = free_port()
            given = {**env, "HOST": HOST, "PORT": str(port)}
            process = Process(server, commands(port)[server], port=port, ready="/readyz", env=given, logs=scratch)
            try:
                process.wait_ready(60)
                rate, cost = max(asyncio.run(small(process)) for _ in range(ROUNDS))
                held, grown = half_sent(process), endless(process)
                print(f"| {server} | +{grown:.0f} MB | {held} of {HALF_SENT} | {rate:,.0f} | {cost:.0f} |", flush=True)
            finally:
                process.stop()


if __name__ == "__main__":
    main()
