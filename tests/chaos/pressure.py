"""Clients that never read, endless requests, huge uploads: they cost little, and nobody else waits for them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import math
import os
import socket as sockets
import struct
import sys
import time
from statistics import median

from chatservice.dialects import DIALECTS
from chatservice.testing import ROOT
from tests.chaos import wire
from tests.chaos.cluster import ApiUser, Cluster, Process, running_cluster, until
from tests.chaos.readers import ChatV1Reader
from tests.chaos.verdict import Verdict

PROMISE = "readers that never read, slow or endless requests, huge uploads: memory, others' first token, nothing lost"
CROWD = 200
UPLOADS = 20
MEMORY = 300_000_000
UNAUTHENTICATED_MEMORY = 100_000_000
PER_READER = 64 * 1024
SLOWER = 2.0
# A short run compares no times, only that there is an answer, and hardly any memory.
PROBES, FEW_PROBES = 20, 3
READERS, FEW_READERS = 16, 2
TRIES = 3
ANSWER = "fake/ok:1000:1000"
"""A million characters: far more than the sockets' own buffers hold."""
SEND_SECONDS, SEND_SECONDS_OF_FEW = 50, 5


async def run(seed: int, rounds: int) -> Verdict:
    """`rounds` is the size of each crowd."""
    verdict = Verdict(PROMISE)
    patience = SEND_SECONDS if rounds >= CROWD else SEND_SECONDS_OF_FEW
    async with running_cluster(
        f"{seed} pressure", processes=1, SEND_SECONDS=str(patience), LIMIT_OUTPUT_CHARS="0"
    ) as cluster:
        [process] = cluster.processes
        api_user = cluster.api_users[0]
        long = ChatV1Reader(api_user, "long", ANSWER)
        await long.attempt(process.port)
        # First requests are not measured, because they pay for threads and caches.
        readers = READERS if rounds >= CROWD else FEW_READERS
        again = [ChatV1Reader(api_user, "long", ANSWER, run_id=long.run_id) for _ in range(readers)]
        await asyncio.gather(*(each.attempt(process.port) for each in again))
        await _first_tokens(cluster, process, 5)
        probes = PROBES if rounds >= CROWD else FEW_PROBES
        quiet = await _usual_first_token(cluster, process, probes)
        before, peak = process.resident(), 0
        open_sockets: list[sockets.socket] = []
        uploads = max(1, rounds * UPLOADS // CROWD)
        loop = asyncio.get_running_loop()
        has_websocket = "websocket" in DIALECTS
        try:
            halfway = 0
            for number in range(rounds):
                # All threads and caches exist by now, so further growth is due to the clients alone.
                halfway = process.resident() if number == rounds // 2 else halfway
                open_sockets.append(await _never_reading(loop, process.port, api_user, long.run_id, websocket=False))
                open_sockets.append(
                    await _never_reading(loop, process.port, api_user, long.run_id, websocket=has_websocket)
                )
                open_sockets.append(await _slow_body(loop, process.port, api_user))
                verdict.rounds += 3
                peak = max(peak, process.resident())
            readers_cost = process.resident() - halfway
            if rounds >= CROWD:
                await _until_calm(process)
            loud, refused = math.inf, []
            for _ in range(TRIES):
                crowd = asyncio.create_task(_upload(process.port, api_user, uploads))
                loud = min(loud, median(await _first_tokens(cluster, process, probes)))
                peak = max(peak, process.resident())
                refused += await crowd
            verdict.facts["uploads refused"] += sum(refused)
            verdict.rounds += len(refused)
            peak = max(peak, process.resident())
            began = time.monotonic()
            await wire.call(process.port, "GET", "/healthz")
            verdict.times.append(time.monotonic() - began)
            verdict.expect(all(refused), f"{refused.count(False)} uploads were not refused")
            verdict.expect(peak - before < MEMORY, f"memory grew by {(peak - before) / 1e6:.0f} MB")
            share = readers_cost / (3 * (rounds - rounds // 2))
            verdict.notes.append(f"memory +{(peak - before) / 1e6:.0f} MB, {share / 1024:.0f} KB a connection")
            verdict.expect(rounds < 50 or share <= PER_READER, f"{share / 1024:.0f} KB for each connection")
            slower = loud / quiet
            verdict.notes.append(f"first token {slower:.1f} times as late")
            # checked in the full run only: with fewer clients the effect is small, and timing is random
            if rounds >= CROWD:
                verdict.expect(slower <= SLOWER, f"the first token came {slower:.1f} times as late")
            await _beside_unauthenticated(cluster, verdict, process, rounds)
            await _resumable(cluster, verdict, process, open_sockets, long, patience)
        finally:
            for each in open_sockets:
                each.close()
        await cluster.settle(verdict)
    return verdict


async def _usual_first_token(cluster: Cluster, process: Process, probes: int) -> float:
    """Return the best of several medians, to exclude other load on the machine."""
    return min([median(await _first_tokens(cluster, process, probes)) for _ in range(TRIES)])


async def _until_calm(process: Process) -> None:
    """Wait until the clients' buffers are full and the process is idle."""

    async def rests() -> bool:
        before = process.worked()
        await asyncio.sleep(0.5)
        return process.worked() - before < 0.1

    await until(rests, timeout=30, what="calm")


async def _first_tokens(cluster: Cluster, process: Process, count: int) -> list[float]:
    """Let `count` clients ask in turn; return each one's time to the first word, in seconds."""
    times = []
    for n in range(count):
        api_user = cluster.api_users[1 + n % (len(cluster.api_users) - 1)]
        body = {"content": "Hi", "model": "fake/ok"}
        began = time.monotonic()
        path = "/v1/chat/conversations/stream"
        async with wire.request(process.port, "POST", path, secret=api_user.secret, body=body) as answer:
            async for event in answer.events():
                if '"ai_chunk"' in event.data:
                    times.append(time.monotonic() - began)
                    break
    return times


async def _connect(loop: asyncio.AbstractEventLoop, port: int, data: bytes) -> sockets.socket:
    link = sockets.socket()
    # The smallest buffer the kernel allows, so that unread data has to wait in the service.
    link.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
    link.setblocking(False)
    await loop.sock_connect(link, ("127.0.0.1", port))
    await loop.sock_sendall(link, data)
    return link


async def _never_reading(
    loop: asyncio.AbstractEventLoop, port: int, api_user: ApiUser, run_id: str, *, websocket: bool
) -> sockets.socket:
    common = f"Host: 127.0.0.1:{port}\r\nAuthorization: Bearer {api_user.secret}\r\n"
    if not websocket:
        return await _connect(loop, port, f"GET /v1/chat/runs/{run_id}/stream HTTP/1.1\r\n{common}\r\n".encode())
    key = base64.b64encode(os.urandom(16)).decode()
    head = f"GET /ws/chat HTTP/1.1\r\n{common}Upgrade: websocket\r\nConnection: Upgrade\r\n"
    head += f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    link = await _connect(loop, port, head.encode())
    await loop.sock_recv(link, 300)
    data = json.dumps({"type": "subscribe", "run_id": run_id}).encode()
    await loop.sock_sendall(link, b"\x81" + struct.pack("!B", 0x80 | len(data)) + b"\x00" * 4 + data)
    return link


async def _slow_body(loop: asyncio.AbstractEventLoop, port: int, api_user: ApiUser) -> sockets.socket:
    head = f"POST /v1/chat/conversations/stream HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    head += (
        f"Authorization: Bearer {api_user.secret}\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
    )
    return await _connect(loop, port, head.encode() + b'{"content": "')


async def _upload(port: int, api_user: ApiUser, count: int) -> list[bool]:
    """Let a separate process send `count` huge bodies, while this one measures; return which were refused."""
    command = [sys.executable, "-m", "tests.chaos.uploads", str(port), str(count)]
    environment = {**os.environ, "CHAOS_KEY": api_user.secret}
    work = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE)
    said, _ = await work.communicate()
    return json.loads(said)


async def _beside_unauthenticated(cluster: Cluster, verdict: Verdict, process: Process, rounds: int) -> None:
    """Measure memory, and other clients' first token, while clients without a key send requests that never complete."""
    slow, endless = rounds * 10, max(1, rounds // 10)
    # measured directly before, because the machine's load changes within minutes
    probes = PROBES if rounds >= CROWD else FEW_PROBES
    quiet = await _usual_first_token(cluster, process, probes)
    before = process.resident()
    command = [
        sys.executable,
        "-m",
        "tests.chaos.unauthenticated",
        str(process.port),
        str(slow),
        str(endless),
    ]
    pipe = asyncio.subprocess.PIPE
    crowd = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=pipe, stdout=pipe)
    assert crowd.stdin is not None and crowd.stdout is not None
    try:
        async with asyncio.timeout(120):
            await crowd.stdout.readline()  # all connections were open at the same time
        peak = process.resident()
        loud = await _usual_first_token(cluster, process, probes)
        peak = max(peak, process.resident())
    finally:
        crowd.stdin.close()
    met = json.loads(await crowd.stdout.read())
    await crowd.wait()
    verdict.rounds += slow + endless
    verdict.facts.update({f"{name} of unauthenticated clients": count for name, count in met.items()})
    verdict.notes.append(
        f"{slow} slow and {endless} endless unauthenticated clients: memory +{(peak - before) / 1e6:.0f} MB, "
        f"first token {loud / quiet:.1f} times as late"
    )
    verdict.expect(met["connections"] >= slow + endless, "not all unauthenticated clients connected")
    verdict.expect(
        peak - before < UNAUTHENTICATED_MEMORY,
        f"memory grew by {(peak - before) / 1e6:.0f} MB beside unauthenticated clients",
    )
    if rounds >= CROWD:
        verdict.expect(loud / quiet <= SLOWER, f"the first token came {loud / quiet:.1f} times as late")


async def _resumable(
    cluster: Cluster,
    verdict: Verdict,
    process: Process,
    open_sockets: list[sockets.socket],
    long: ChatV1Reader,
    patience: int,
) -> None:
    """Read until the service disconnects; check that a reader can then resume without a gap."""
    loop = asyncio.get_running_loop()
    data = b""
    with contextlib.suppress(OSError):
        async with asyncio.timeout(90):
            await asyncio.sleep(patience + 3)
            while part := await loop.sock_recv(open_sockets[0], 65536):
                data += part
    reader = ChatV1Reader(long.api_user, long.prompt, long.model, run_id=long.run_id)
    body = b""
    rest = data.partition(b"\r\n\r\n")[2]
    while b"\r\n" in rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size or b"0", 16)
        if not length or len(rest) < length:
            break
        body, rest = body + rest[:length], rest[length + 2 :]
    for block in body.split(b"\n\n")[:-1]:
        event = wire.read_event(block.decode())
        if event is not None:
            reader.take(event)
            reader.cursor = event.id or reader.cursor
    verdict.expect(not reader.ended, "a reader that never read had room for everything: this proves nothing")
    verdict.notes.append(f"cut off with {len(reader.text):,} of {len(long.text):,} characters")
    await reader.insist(lambda: process.port)
    verdict.expect(reader.text == long.text, "a reader that was cut off did not get the rest by its cursor")
