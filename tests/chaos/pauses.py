"""A process that is paused for longer than its lease and then resumes writes nothing into the runs it lost."""

from __future__ import annotations

import asyncio
import random
import signal
import time

from completions.models import Chunk, Run
from tests.chaos.cluster import Cluster, Process, database, running_cluster, until
from tests.chaos.readers import Reader
from tests.chaos.socket_readers import FOLLOWERS
from tests.chaos.verdict import Verdict

PROMISE = "SIGSTOP past the lease, SIGCONT: nothing is written after the fence"
STREAMS = 6
PER_HOUSE = 3
BOUND = 15.0
ATTEMPTS = 5


async def run(seed: int, rounds: int) -> Verdict:
    verdict = Verdict(PROMISE)
    async with running_cluster(
        f"{seed} pauses",
        processes=PER_HOUSE + 1,
        LEASE_SECONDS="2",
        HEARTBEAT_SECONDS="0.5",
        SWEEP_SECONDS="0.5",
    ) as cluster:
        *sleepers, _ = cluster.processes
        for number in range(0, rounds, PER_HOUSE):
            at_once = list(enumerate(sleepers))[: rounds - number]
            await asyncio.gather(*(_round(cluster, verdict, seed, number + n, each) for n, each in at_once))
        await cluster.settle(verdict)
    return verdict


async def _round(cluster: Cluster, verdict: Verdict, seed: int, number: int, sleeper: Process) -> None:
    rng = random.Random(f"{seed} pause {number}")
    begun = await asyncio.gather(*(_speaking(cluster, sleeper, number, n) for n in range(STREAMS)))
    readers, work = [reader for reader, _ in begun], [task for _, task in begun]
    await asyncio.sleep(rng.uniform(0.0, 0.3))
    sleeper.signal(signal.SIGSTOP)
    try:
        ids = [each.run_id for each in readers]
        began = time.monotonic()
        # If it is stopped inside a transaction, its rows stay locked until the database ends its session.
        await until(lambda: database(_all_over, ids), timeout=BOUND, what=f"the reaper, seed {seed} pause {number}")
        verdict.times.append(time.monotonic() - began)
        before = await database(_rows, ids)
    finally:
        sleeper.signal(signal.SIGCONT)
    results = await asyncio.gather(*work, return_exceptions=True)
    after = await database(_rows, ids)
    verdict.rounds += 1
    where = f"pause {number} (seed {seed})"
    verdict.facts["runs lost and kept"] += len(ids)
    verdict.expect(before == after, f"{where}: something was written after the fence")
    for reader, result in zip(readers, results, strict=True):
        verdict.expect(reader.ended == "error:interrupted", f"{where}: {reader.name} heard {reader.ended} {result!r}")
        stored = after[0][reader.run_id]
        verdict.expect(stored.startswith(reader.text), f"{where}: {reader.name} was shown what is not stored")
    upstream = [request for reader in readers for request in cluster.asked(reader.prompt)]
    await until(lambda: all(each.hung_up for each in upstream), timeout=10, what=f"{where}: the upstreams' end")


async def _speaking(cluster: Cluster, sleeper: Process, number: int, n: int) -> tuple[Reader, asyncio.Task[None]]:
    """Return a reader that has received words, and its task: on a busy machine a run may lose its lease before that."""
    kind, api_user = FOLLOWERS[n % len(FOLLOWERS)], cluster.api_users[n % len(cluster.api_users)]
    for attempt in range(ATTEMPTS):
        reader = kind(api_user, f"z{number}n{n}t{attempt}", "fake/numbered:10ms:3000")
        await reader.prepare(sleeper.port)
        task = asyncio.create_task(reader.attempt(sleeper.port))
        await until(lambda: reader.text or task.done(), timeout=20, what=f"words, {kind.name}")  # noqa: B023  awaited here
        if not task.done():
            return reader, task
    raise AssertionError(
        f"{kind.name} ended {ATTEMPTS} times before it was paused: {reader.ended} {task.exception()!r}"
    )


def _all_over(ids: list[str]) -> bool:
    return not Run.objects.running().filter(pk__in=ids).exists()


def _rows(ids: list[str]) -> tuple[dict[str, str], list[object], int]:
    runs = Run.objects.filter(pk__in=ids).select_related("message").order_by("pk")
    texts = {str(run.pk): run.message.content if run.message else "" for run in runs}
    return texts, list(runs.values_list("pk", "state", "epoch", "finished_at")), _chunks(ids)


def _chunks(ids: list[str]) -> int:
    return Chunk.objects.filter(run_id__in=ids).count()
