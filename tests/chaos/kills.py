"""kill -9 at random moments under many posters: nothing acknowledged or shown is lost, no orphaned run remains."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

from tests.chaos import wire
from tests.chaos.cluster import Cluster, Process, database, running_cluster, until
from tests.chaos.picture_reader import PICTURE_READERS, left_over
from tests.chaos.readers import Reader
from tests.chaos.socket_readers import READERS
from tests.chaos.stored import Stored, pid_of
from tests.chaos.verdict import Verdict

KINDS = READERS + PICTURE_READERS
PROMISE = "kill -9: nothing acknowledged or shown is lost, orphans are marked within 15 s"
POSTERS, POSTERS_A_ROUND = 20, 3  # a short run has fewer, but each asks by all APIs in turn
BOUND = 15.0
MODELS = ("fake/numbered:5ms:30", "fake/numbered:0:20", "fake/numbered:20ms:300", "fake/numbered:10ms:80")


@dataclass
class Killing:
    cluster: Cluster
    verdict: Verdict
    seed: int
    over: bool = False
    seen: list[Reader] = field(default_factory=list)
    reading: dict[int, tuple[Reader, int]] = field(default_factory=dict)
    """Each poster's reader, and the port at which it asked."""

    def is_writing(self, process: Process) -> bool:
        """Whether some client has begun to receive an answer that this process writes."""
        return any(each.text and not each.ended for each, port in self.reading.values() if port == process.port)


async def run(seed: int, rounds: int) -> Verdict:
    verdict = Verdict(PROMISE)
    async with running_cluster(f"{seed} kills", processes=3) as cluster:
        state = Killing(cluster, verdict, seed)
        posters = [
            asyncio.create_task(_post(state, number)) for number in range(min(POSTERS, POSTERS_A_ROUND * rounds))
        ]
        restarts: dict[int, asyncio.Task[None]] = {}
        rng = random.Random(f"{seed} kills")
        for _ in range(rounds):
            await asyncio.sleep(rng.uniform(0.05, 1.0))
            victim = rng.choice(cluster.processes)
            if victim.port in restarts:
                await restarts.pop(victim.port)
            # Some process must survive to find the orphans.
            await until(lambda: len(cluster.alive) > 1, timeout=60, what="a second process")
            await until(lambda: state.is_writing(victim), timeout=60, what="an answer")  # noqa: B023  awaited here
            # In half of the rounds only the lease can show that the process died.
            victim.kill(stay=rng.random() < 0.5)
            restarts[victim.port] = asyncio.create_task(victim.start())
            verdict.rounds += 1
        state.over = True
        await asyncio.gather(*restarts.values(), *posters)
        cluster.baseline = {}
        await cluster.settle(verdict)
        await _judge(state)
    return verdict


async def _post(state: Killing, number: int) -> None:
    """Ask one question after another, at any running process; come back only where the client itself left."""
    rng = random.Random(f"{state.seed} poster {number}")
    cluster = state.cluster
    count = 0
    while not state.over:
        count += 1
        kind = KINDS[(number + count) % len(KINDS)]
        reader = kind(cluster.api_users[number % len(cluster.api_users)], f"p{number}q{count}", rng.choice(MODELS))
        state.seen.append(reader)
        port = cluster.another(rng).port
        try:
            await reader.prepare(port)
            state.reading[number] = reader, port
            while not reader.ended:
                await reader.attempt(port)
                port = cluster.another(rng, than=port).port
        except (wire.Cut, OSError, wire.Refused):
            await asyncio.sleep(0.02)


async def _judge(state: Killing) -> None:
    verdict, cluster, rng = state.verdict, state.cluster, random.Random(f"{state.seed} checks")
    users = [api_user.user.pk for api_user in cluster.api_users]
    stored = await Stored.of(users)
    for reader in state.seen:
        if reader.acknowledged:
            where = f"{reader.prompt} ({reader.name}, seed {state.seed})"
            run = await stored.compare(reader, verdict, where, lambda: cluster.another(rng).port)
            ended = run is None or run.state in ("complete", "interrupted")
            verdict.expect(ended, f"{where}: {run and (run.state, run.error_code)}")
    deaths = {pid: at for process in cluster.processes for pid, at in process.deaths.items()}
    for run in stored.runs.values():
        if run.state == "interrupted" and run.finished_at is not None:
            died = deaths.get(pid_of(run))
            if died is None:
                verdict.broken(f"run {run.pk} was interrupted although nobody killed its process")
                continue
            verdict.facts["orphans"] += 1
            verdict.times.append(run.finished_at.timestamp() - died)
    left = await database(left_over, users)
    verdict.expect(not left, f"{left} pictures are left that nobody knows")
    late = sum(each > BOUND for each in verdict.times)
    verdict.expect(not late, f"{late} orphans were marked later than {BOUND} s")
