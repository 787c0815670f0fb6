"""Connections to the database, the upstream or Redis go silent: readers get an ending, and the service recovers.

A proxy keeps acknowledging data that it drops, in one direction or both, and lets new connections through, like a
failover behind one address. In the end everything is silent, and the service must still stop on request.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from chatservice import testing
from completions.models import Run
from completions.tests.silent_line import SilentLine
from tests.chaos import wire
from tests.chaos.cluster import Cluster, Process, database, is_postgres, running_cluster, until
from tests.chaos.readers import Disagreement, Reader
from tests.chaos.socket_readers import READERS
from tests.chaos.verdict import Verdict

PROMISE = "silent connections: readers end, nothing acknowledged is lost, back within 30 s; a stop is obeyed"
BOUND = 30.0
AT_ONCE = 3
STREAMS = 4
DRAIN = 1
STOP_BOUND = DRAIN + 10.0
DIRECTIONS: tuple[dict[str, bool], ...] = ({"up": False}, {"down": False}, {})
REDIS_URL = "redis://127.0.0.1:6379"
# Short timeouts: the test is about giving up on the upstream, not about how long that takes.
PATIENCE = {"FIRST_BYTE_SECONDS": "4", "IDLE_SECONDS": "3"}


@dataclass
class Lines:
    """The lines from one process to the database, the upstream and Redis."""

    lines: dict[str, SilentLine]
    env: dict[str, str] = field(default_factory=dict)


async def run(seed: int, rounds: int) -> Verdict:
    verdict = Verdict(PROMISE)
    with contextlib.ExitStack() as stack:
        lines = [stack.enter_context(_lines()) for _ in range(min(rounds, AT_ONCE))]
        own_env = [{**one.env, **PATIENCE} for one in lines]
        async with running_cluster(f"{seed} silence", own_env=own_env, DRAIN_SECONDS=str(DRAIN)) as cluster:
            waiting = list(range(rounds))[::-1]
            at_work = zip(cluster.processes, lines, strict=True)
            await asyncio.gather(*(_work(cluster, verdict, seed, waiting, *one) for one in at_work))
            await cluster.settle(verdict)
            stops = zip(cluster.processes, lines, strict=True)
            await asyncio.gather(*(_stop(cluster, verdict, *one) for one in stops))
    return verdict


@contextlib.contextmanager
def _lines() -> Iterator[Lines]:
    with contextlib.ExitStack() as stack:
        found = Lines({})

        def line(name: str, url: str, port: int) -> str:
            """Put a line in front of an address; return the address that leads through it."""
            found.lines[name] = stack.enter_context(SilentLine.before(url, port))
            return found.lines[name].url

        upstreams = json.loads(testing.fake_upstreams())
        upstreams["fake"]["base_url"] = line("upstream", upstreams["fake"]["base_url"], 80)
        found.env["UPSTREAMS"] = json.dumps(upstreams)
        if is_postgres():
            found.env["DATABASE_URL"] = line("database", testing.test_database_url(), 5432)
        redis = os.environ.get("REDIS_URL") or REDIS_URL
        if _answers(redis):
            found.env["REDIS_URL"] = line("redis", redis, 6379)
        yield found


def _answers(url: str) -> bool:
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 6379), timeout=2).close()
    except OSError:
        return False
    return True


async def _work(
    cluster: Cluster, verdict: Verdict, seed: int, waiting: list[int], process: Process, lines: Lines
) -> None:
    while waiting:
        number = waiting.pop()
        where = f"silence {number} (seed {seed})"
        try:
            await _round(cluster, verdict, f"{seed} silence {number}", number, process, lines, where)
        except (AssertionError, Disagreement, TimeoutError, wire.Refused) as error:
            verdict.broken(f"{where}: {type(error).__name__} {error}")
        verdict.rounds += 1


async def _round(
    cluster: Cluster, verdict: Verdict, seed: str, number: int, process: Process, lines: Lines, where: str
) -> None:
    rng = random.Random(seed)
    # The database in every second round, unless it is SQLite.
    names = sorted(lines.lines)
    name = "database" if "database" in names and number % 2 == 0 else names[number // 2 % len(names)]
    silent = DIRECTIONS[number // 2 % len(DIRECTIONS)]
    where = f"{where}, {name} {silent or 'both'}"
    # A pooled connection that an earlier round left silent would fail this round's question; that is not tested here.
    lines.lines["upstream"].cut_silent()
    readers = []
    for n in range(STREAMS):
        kind = READERS[(number + n) % len(READERS)]
        words = rng.choice((100, 200, 300))
        reader = kind(cluster.api_users[n % len(cluster.api_users)], f"w{number}n{n}", f"fake/numbered:20ms:{words}")
        await _prepare(reader, verdict, process.port)
        readers.append(reader)
    reading = [asyncio.create_task(_read(each, process.port)) for each in readers]
    await until(lambda: all(each.text or each.ended for each in readers), timeout=30, what="words")
    await asyncio.sleep(rng.uniform(0.0, 0.5))
    verdict.facts[f"silent connections to {name}"] += lines.lines[name].silence(**silent)
    began = time.monotonic()
    asking = asyncio.create_task(_ask_until_answered(cluster, verdict, number, process.port, where))
    ends = await asyncio.gather(*reading)
    await asking
    await until(lambda: _is_ready(process.port), timeout=BOUND, what="green readiness")
    verdict.times.append(time.monotonic() - began)
    verdict.expect(verdict.times[-1] <= BOUND, f"{where}: back after {verdict.times[-1]:.1f} s")
    for reader, ended in zip(readers, ends, strict=True):
        verdict.expect(ended - began <= BOUND, f"{where}: {reader.name} ended after {ended - began:.1f} s")
    await _judge(cluster, verdict, readers, where, whole=name == "redis")


async def _prepare(reader: Reader, verdict: Verdict, port: int) -> None:
    """Prepare a reader. Threads still blocked by the previous round may delay it, by BOUND at most."""
    until_then = time.monotonic() + BOUND
    while True:
        try:
            return await reader.prepare(port)
        except wire.Refused as refused:
            if refused.status != 503 or not refused.says_when or time.monotonic() > until_then:
                raise
        verdict.facts["requests refused with 503 after green readiness"] += 1
        await asyncio.sleep(0.2)


async def _read(reader: Reader, port: int) -> float:
    """Read until the service ends the stream, without reconnecting; return the time of the end."""
    with contextlib.suppress(wire.Cut, OSError, wire.Refused):
        while not reader.ended:
            await reader.attempt(port, patience=BOUND + 10)
    return time.monotonic()


async def _ask_until_answered(cluster: Cluster, verdict: Verdict, number: int, port: int, where: str) -> None:
    rng = random.Random(f"{where} asking")
    async with asyncio.timeout(BOUND + 15):
        for count in range(1_000):
            kind = rng.choice(READERS)
            reader = kind(rng.choice(cluster.api_users), f"w{number}again{count}", "fake/numbered:0:5")
            try:
                await reader.prepare(port)
                while not reader.ended:
                    await reader.attempt(port, patience=BOUND)
            except wire.Refused as refused:
                verdict.facts["refused"] += 1
                verdict.expect(refused.status == 503 and refused.says_when, f"{where}: {reader.name} got {refused}")
            except (wire.Cut, OSError) as broken:
                verdict.broken(f"{where}: {reader.name} was cut off ({broken})")
            if reader.ended == "complete":
                return
            await asyncio.sleep(0.2)


async def _is_ready(port: int) -> bool:
    try:
        await wire.call(port, "GET", "/readyz", patience=10.0)
    except (OSError, wire.Cut, wire.Refused):
        return False
    return True


async def _judge(cluster: Cluster, verdict: Verdict, readers: list[Reader], where: str, *, whole: bool) -> None:
    ids = [each.run_id for each in readers if each.run_id]
    await until(lambda: database(_all_over, ids), timeout=BOUND, what=f"{where}: the end of the runs")
    runs = {str(run.pk): run for run in await database(_runs, ids)}
    for reader in readers:
        run = runs.get(reader.run_id)
        if run is None or run.message is None or run.message.parent is None:
            verdict.broken(
                f"{where}: {reader.name}, run '{reader.run_id}', is not there ({reader.ended} {reader.error})"
            )
            continue
        verdict.facts["answers"] += 1
        verdict.facts["answers that went on"] += reader.ended == "complete"
        verdict.expect(reader.ended, f"{where}: {reader.name} got no end")
        stored = run.message.content
        verdict.expect(run.message.parent.content == reader.prompt, f"{where}: the question is another one")
        verdict.expect(stored.startswith(reader.text), f"{where}: {reader.name} was shown what is not stored")
        if reader.ended == "complete":
            verdict.expect((run.state, stored) == ("complete", reader.text), f"{where}: heard complete, {run.state}")
        verdict.expect(not whole or reader.ended == "complete", f"{where}: {reader.name} heard {reader.ended}")
        verdict.expect(len(cluster.asked(reader.prompt)) == 1, f"{where}: asked upstream more than once")


def _all_over(ids: list[str]) -> bool:
    return not Run.objects.running().filter(pk__in=ids).exists()


def _runs(ids: list[str]) -> list[Run]:
    return list(Run.objects.filter(pk__in=ids).select_related("message__parent"))


async def _stop(cluster: Cluster, verdict: Verdict, process: Process, lines: Lines) -> None:
    """Stop a process in the middle of an answer, while everything it talks to is silent and stays so."""
    lines.lines["upstream"].cut_silent()
    reader = READERS[0](cluster.api_users[0], f"w{process.port}last", "fake/numbered:20ms:2000")
    await reader.prepare(process.port)
    reading = asyncio.create_task(_read(reader, process.port))
    await until(lambda: reader.text or reading.done(), timeout=30, what="words")
    verdict.expect(reader.text, f"before the stop: {reader.name} heard {reader.ended} {reader.error}")
    for line in lines.lines.values():
        line.silent_from_birth = True
        line.silence()
    await asyncio.sleep(1.0)
    began = time.monotonic()
    code = await process.stop()
    took = time.monotonic() - began
    verdict.expect(code != -9 and took <= STOP_BOUND, f"a stop while all is silent took {took:.1f} s, exit code {code}")
    await reading
