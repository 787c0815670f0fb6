"""The soak itself: users ask all the time while one fault follows the other, and then everything is compared."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

from django.db import connection

from chatservice import testing
from chatservice.testing import free_port
from completions.ledger_check import differences
from completions.models import Run
from completions.tests.silent_line import SilentLine
from tests.chaos import wire
from tests.chaos.cluster import BELOW_CLIENTS, database, running_cluster
from tests.chaos.picture_reader import left_over
from tests.chaos.stored import Stored, pid_of
from tests.chaos.verdict import Verdict
from tests.nginx import example_nginx
from tests.soak.backups import Backup
from tests.soak.counts import Counts
from tests.soak.faults import BOUND, FAULTS, KILL, Turn, World, take_turn
from tests.soak.memory import Memory
from tests.soak.servers import Database, Redis
from tests.soak.traffic import Traffic

PROCESSES = 4
USERS = 20
WARM_UP = 5.0
REST = 15.0
# A hanging upstream is given up on within a turn.
PATIENCE = {"FIRST_BYTE_SECONDS": "8", "IDLE_SECONDS": "6"}
MAX_NOTICED, MAX_CHARS = 3, 200
LAST_LINES = 10


async def soak(seed: int, minutes: float, faults: str, server: Database, redis: Redis, home: Path) -> list[Verdict]:
    """Return the verdict on each promise. `home` is an empty folder."""
    kept = Verdict("nothing acknowledged or shown is lost, and nothing fails without a fault")
    back = Verdict(f"after a fault every process recovers by itself within {BOUND:.0f} s")
    memory, counts, backup = Verdict("memory stays flat"), Verdict("the metrics agree"), Verdict("the backup is whole")
    verdicts = [kept, back, memory, counts, backup]
    wire.exchanges = []
    with contextlib.ExitStack() as stack:
        lines = [stack.enter_context(SilentLine.before(server.url, 5432)) for _ in range(PROCESSES)]
        upstreams = json.loads(testing.fake_upstreams())
        upstream = stack.enter_context(SilentLine.before(upstreams["fake"]["base_url"], 80))
        upstreams["fake"]["base_url"] = upstream.url
        env: dict[str, Any] = {
            "UPSTREAMS": json.dumps(upstreams),
            "REDIS_URL": redis.url,
            "TRUSTED_PROXIES": "1",
            **PATIENCE,
        }
        own_env = [{"DATABASE_URL": line.url, "METRICS_PORT": str(free_port(BELOW_CLIENTS))} for line in lines]
        async with running_cluster(f"{seed} soak", own_env=own_env, api_users=USERS, **env) as cluster:
            ports = [each.port for each in cluster.processes]
            front, front_log = stack.enter_context(example_nginx(ports))
            world = World(
                cluster,
                server,
                redis,
                lines,
                upstream,
                Counts({each.port: int(each.env["METRICS_PORT"]) for each in cluster.processes}),
                Traffic(seed, front, cluster.api_users, kept),
            )
            try:
                await _play(world, seed, minutes, faults, home, verdicts)
            except Exception as error:
                traceback.print_exc()
                kept.broken(f"the soak ended early: {type(error).__name__} {error}")
            if any(each.violations for each in verdicts):
                _tell_logs(world, front_log)
    return verdicts


async def _play(world: World, seed: int, minutes: float, faults: str, home: Path, verdicts: list[Verdict]) -> None:
    kept, back, flat, agree, whole = verdicts
    cluster, traffic = world.cluster, world.traffic
    memory, backup = Memory(), Backup(world.database, home)
    async with (
        _beside(world.counts.keep_asking(cluster.processes), memory.keep_looking(cluster.processes)),
        asyncio.TaskGroup() as group,
    ):
        asking = group.create_task(traffic.run())
        try:
            await _turns(world, seed, minutes, faults, backup, back, whole)
        finally:
            traffic.over = True
        await asking
    _say(f"{len(traffic.seen)} questions asked; comparing")
    await database(connection.close_pool)  # this program's own connections were cut, too
    await cluster.settle(kept)
    kept.rounds = len(traffic.seen)
    await asyncio.sleep(WARM_UP)
    await world.counts.judge(cluster.processes, list(wire.exchanges or ()), agree)
    memory.judge(flat)
    await _judge(world, seed, kept)
    await backup.judge(whole)


@contextlib.asynccontextmanager
async def _beside(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do what never ends until the block does."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        yield
    finally:
        for each in tasks:
            if each.done():
                each.result()
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _turns(
    world: World, seed: int, minutes: float, faults: str, backup: Backup, verdict: Verdict, backup_verdict: Verdict
) -> None:
    rng = random.Random(f"{seed} soak")
    began = time.monotonic()
    await asyncio.sleep(WARM_UP)
    for name in itertools.cycle(_names(world, faults)):
        world.cluster.upstream.requests.clear()
        turn = await take_turn(name, world, rng, verdict)
        await asyncio.sleep(REST)
        _say(_line(world, turn))
        for process in world.cluster.processes:
            world.cluster.baseline.setdefault(process.pid, process.held())
        passed = time.monotonic() - began
        if not backup.known and passed >= minutes * 30:
            at = time.monotonic()
            await backup.take(world.traffic.seen, backup_verdict)
            _say(f"backup of {len(backup.known)} acknowledged questions in {time.monotonic() - at:.1f} s")
        if passed >= minutes * 60:
            return


def _names(world: World, wanted: str) -> list[str]:
    if world.database.disk is None:
        _say("disk full: left out, because this user may not mount a small disk")
    possible = [name for name in FAULTS if name != "disk full" or world.database.disk is not None]
    return [name for name in possible if wanted in name]


def _line(world: World, turn: Turn) -> str:
    """Return what a turn was, with some of what clients noticed."""
    noticed = list(world.traffic.between(turn.began, time.time()))
    kinds = Counter(each.kind for each in noticed)
    told = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "nobody noticed"
    lasted, took = turn.ended - turn.began, turn.recovered - turn.ended
    lines = [f"{len(world.turns)}. {turn.name}: {lasted:.1f} s, all answer {took:.1f} s later; {told}"]
    lines += [f"    {_clock(each.at)} {each.kind}: {each.text[:MAX_CHARS]}" for each in noticed[:MAX_NOTICED]]
    return "\n".join(lines)


async def _judge(world: World, seed: int, verdict: Verdict) -> None:
    """Compare what clients saw with what is stored, and each failure with the fault that excuses it."""
    cluster, turns = world.cluster, world.turns
    rng = random.Random(f"{seed} checks")
    users = [each.user.pk for each in cluster.api_users]
    stored = await Stored.of(users)
    for reader in world.traffic.seen:
        if reader.acknowledged and reader.run_id:
            where = f"{reader.prompt} ({reader.name}, seed {seed})"
            await stored.compare(reader, verdict, where, lambda: cluster.another(rng).port)
    killed = {pid for process in cluster.processes for pid in process.deaths}
    for run in stored.runs.values():
        if run.state == "complete":
            verdict.facts["runs complete"] += 1
            continue
        told = f"run {run.pk} {run.state} {run.error_code}, begun at {run.created_at}, ended at {run.finished_at}"
        fault = _explained(run, turns, killed)
        verdict.expect(fault, f"{told}: no fault explains it")
        verdict.facts[f"runs {run.state} by {fault or 'nothing'}"] += 1
    for trouble in world.traffic.troubles:
        verdict.facts[trouble.kind] += 1
        covered = any(turn.covers(trouble.at) for turn in turns)
        verdict.expect(covered, f"{_clock(trouble.at)} {trouble.kind} without a fault: {trouble.text}")
    left = await database(left_over, users)
    verdict.expect(not left, f"{left} pictures are left that nobody knows")
    verdict.expect(not await database(_ledger_is_wrong), "the ledger is not the sum of the requests")


def _explained(run: Run, turns: list[Turn], killed: set[int]) -> str:
    """Return the last fault between the start of the run and its end that explains how it ended."""
    if run.finished_at is None:
        return ""
    began, ended = run.created_at.timestamp(), run.finished_at.timestamp()
    return next(
        (
            turn.name
            for turn in reversed(turns)
            if run.state in turn.ends
            and began <= turn.ended
            and turn.covers(ended)
            and (turn.name != KILL or pid_of(run) in killed)
        ),
        "",
    )


def _ledger_is_wrong() -> bool:
    return any(found for _, found in differences())


def _tell_logs(world: World, front_log: Path) -> None:
    """Print the turns and the last lines of every log, and keep the logs, after a promise broke."""
    for number, turn in enumerate(world.turns, 1):
        times = " ".join(map(_clock, (turn.began, turn.ended, turn.recovered)))
        _say(f"turn {number}, {turn.name}: began, ended and recovered at {times}")
    logs = {f"service-{each.port}": each.log.read_text(errors="replace") for each in world.cluster.processes}
    logs |= {"postgresql": world.database.log(), "nginx": front_log.read_text(errors="replace")}
    kept = Path(tempfile.mkdtemp(prefix="soak-failed-"))
    for name, text in logs.items():
        (kept / f"{name}.log").write_text(text)
        last = [line[:400] for line in text.splitlines()[-LAST_LINES:]]
        print(f"--- the last lines of {name}", *last, sep="\n", file=sys.stderr, flush=True)
    _say(f"the whole logs are kept in {kept}")


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at)) if at else "never"


def _say(text: str) -> None:
    print(f"{_clock(time.time())} {text}", file=sys.stderr, flush=True)
