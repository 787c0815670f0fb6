"""The faults that the soak causes one after the other. Each returns once its cause is gone."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

from chatservice.testing.disks import grow, shrink
from completions.tests.silent_line import SilentLine
from tests.chaos import wire
from tests.chaos.cluster import Cluster, Process, until
from tests.chaos.readers import ChatV1Reader
from tests.chaos.verdict import Verdict
from tests.soak.counts import Counts
from tests.soak.servers import Database, Redis
from tests.soak.traffic import Traffic

DISK_MEGABYTES = 2000
BOUND = 30.0
"""Seconds in which each process answers again."""
TOO_LATE = 120.0
SLACK = 20.0
"""Seconds after the recovery in which a client may still hear of the fault: orphans are found within 15 s."""
NOTICED = 30.0
SHORT = 5.0
"""A restart of the database that takes no longer interrupts no answer: half of a lease."""


@dataclass
class World:
    """Everything that can fail. `lines` lead from each process to the database, `upstream` from all to the model."""

    cluster: Cluster
    database: Database
    redis: Redis
    lines: list[SilentLine]
    upstream: SilentLine
    counts: Counts
    traffic: Traffic
    turns: list[Turn] = field(default_factory=list)


@dataclass
class Turn:
    """One fault, in Unix seconds. `ends` are the ends of answers that it excuses."""

    name: str
    ends: tuple[str, ...]
    began: float
    ended: float = 0.0
    recovered: float = 0.0

    def covers(self, at: float) -> bool:
        return self.began <= at <= (self.recovered or self.ended or time.time()) + SLACK


async def kill(world: World, rng: random.Random) -> None:
    """kill -9; it is started again, as systemd does. The first process is never killed."""
    victim = rng.choice(world.cluster.processes[1:])
    await world.counts.scrape(victim)
    # In half of them only the lease shows that the process died.
    victim.kill(stay=rng.random() < 0.5)
    await asyncio.sleep(1.0)
    victim.launch()


async def restart_database(how: signal.Signals, world: World, rng: random.Random) -> None:
    await world.database.stop(how)
    await asyncio.sleep(rng.uniform(0.0, 8.0))
    await world.database.start()


async def connections_fall_silent(world: World, rng: random.Random) -> None:
    """Existing connections to the database go silent, new ones are fine: a failover behind one address."""
    silent = rng.choice(({"up": False}, {"down": False}, {}))
    for line in world.lines:
        line.silence(**silent)
    await asyncio.sleep(5.0)


async def silent_network(world: World, rng: random.Random) -> None:
    """Nothing passes between the processes and the database, or one of them and the database."""
    lines = world.lines if rng.random() < 0.5 else [rng.choice(world.lines)]
    await _silence(lines, rng.uniform(5.0, 25.0))


async def hanging_upstream(world: World, rng: random.Random) -> None:
    await _silence([world.upstream], rng.uniform(10.0, 25.0))


async def _silence(lines: list[SilentLine], seconds: float) -> None:
    for line in lines:
        line.silent_from_birth = True
        line.silence()
    try:
        await asyncio.sleep(seconds)
    finally:
        for line in lines:
            line.silent_from_birth = False
            line.cut_silent()


async def redis_away(world: World, rng: random.Random) -> None:
    world.redis.stop()
    await asyncio.sleep(rng.uniform(5.0, 15.0))
    await world.redis.start()


async def full_disk(world: World, rng: random.Random) -> None:
    """The disk of the database's tables has no room, from when a process has noticed for some seconds more."""
    disk = world.database.disk
    assert disk is not None
    shrink(disk)
    try:
        with contextlib.suppress(AssertionError):
            await until(partial(_says, world.cluster, "disk full"), timeout=NOTICED, what="red readiness")
            world.traffic.verdict.facts["full disks noticed"] += 1
        await asyncio.sleep(rng.uniform(5.0, 12.0))
    finally:
        grow(disk, DISK_MEGABYTES)


async def _says(cluster: Cluster, status: str) -> bool:
    """Tell whether some process is not ready for this reason."""
    for process in cluster.alive:
        try:
            await wire.call(process.port, "GET", "/readyz", patience=5.0)
        except wire.Refused as refused:
            if status in refused.text:
                return True
        except (wire.Cut, OSError):
            continue
    return False


Fault = Callable[[World, random.Random], Awaitable[None]]
KILL, RESTART = "kill -9", "PostgreSQL restarted"
INTERRUPTED = ("interrupted",)
FAULTS: dict[str, tuple[Fault, tuple[str, ...]]] = {
    KILL: (kill, INTERRUPTED),
    f"{RESTART}, immediate": (partial(restart_database, signal.SIGQUIT), INTERRUPTED),
    "Redis away": (redis_away, ()),
    "connections to PostgreSQL silent": (connections_fall_silent, ()),
    "upstream hangs": (hanging_upstream, ("failed",)),
    "disk full": (full_disk, INTERRUPTED),
    f"{RESTART}, fast": (partial(restart_database, signal.SIGINT), INTERRUPTED),
    "network to PostgreSQL silent": (silent_network, INTERRUPTED),
}


async def take_turn(name: str, world: World, rng: random.Random, verdict: Verdict) -> Turn:
    """Cause a fault, and wait until every process has recovered by itself."""
    fault, ends = FAULTS[name]
    turn = Turn(name, ends, time.time())
    world.turns.append(turn)
    await fault(world, rng)
    turn.ended = time.time()
    if name.startswith(RESTART) and turn.ended - turn.began <= SHORT:
        turn.ends = ()
    late = await asyncio.gather(*(_recovery(world, each, turn) for each in world.cluster.processes))
    turn.recovered = time.time()
    verdict.rounds += 1
    verdict.times.append(turn.recovered - turn.ended)
    for each in filter(None, late):
        verdict.broken(f"turn {len(world.turns)}, {name}: {each}")
    return turn


async def _recovery(world: World, process: Process, turn: Turn) -> str:
    """Wait until the process is ready and answers a question; return what is wrong if it takes too long."""
    state = "it is not ready"
    asked = 0
    while (seconds := time.time() - turn.ended) < TOO_LATE:
        if await process.answers():
            process.ready = True
            asked += 1
            prompt = f"canary turn {len(world.turns)} port {process.port} try {asked}"
            reader = ChatV1Reader(world.cluster.api_users[0], prompt, "fake/numbered:0:5")
            world.traffic.seen.append(reader)
            try:
                while not reader.ended:
                    await reader.attempt(process.port, patience=10.0)
                state = f"its answer ended as {reader.ended}"
            except (wire.Cut, wire.Refused, OSError) as error:
                state = f"its answer ended by {error!r}"
            seconds = time.time() - turn.ended
            if reader.ended == "complete":
                return "" if seconds <= BOUND else f"port {process.port} answered after {seconds:.1f} s"
        await asyncio.sleep(0.2)
    return f"port {process.port} does not answer after {seconds:.0f} s: {state}"
