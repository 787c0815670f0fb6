"""Rolling restarts of two processes under many streams: reconnecting clients see no error, no run stays open."""

from __future__ import annotations

import asyncio
import random
import time

from completions.models import Run
from tests.chaos import wire
from tests.chaos.cluster import DRAIN, Cluster, database, running_cluster
from tests.chaos.readers import Disagreement
from tests.chaos.socket_readers import READERS
from tests.chaos.verdict import Verdict

PROMISE = "rolling restarts: no error for a client that comes back, exit 0"
STREAMS, STREAMS_A_ROUND = 50, 16  # a short run has fewer: two of each kind of client
BOUND = DRAIN + 5.0


async def run(seed: int, rounds: int) -> Verdict:
    verdict = Verdict(PROMISE)
    async with running_cluster(f"{seed} restarts", processes=2) as cluster:
        over = asyncio.Event()
        count = min(STREAMS, STREAMS_A_ROUND * rounds)
        streams = [asyncio.create_task(_stream(cluster, verdict, seed, n, over)) for n in range(count)]
        rng = random.Random(f"{seed} restarts")
        for _ in range(rounds):
            for process in cluster.processes:
                await asyncio.sleep(rng.uniform(0.05, 0.5))
                pid, began = process.pid, time.monotonic()
                code = await process.stop()
                verdict.times.append(time.monotonic() - began)
                verdict.expect(code == 0, f"exit code {code} of process {pid}")
                left = await database(_left, pid)
                verdict.expect(not left, f"process {pid} left {left} runs open")
                await process.start()
                cluster.baseline[process.pid] = process.held()
            verdict.rounds += 1
        over.set()
        await asyncio.gather(*streams)
        slow = sum(each > BOUND for each in verdict.times)
        verdict.expect(not slow, f"{slow} stops took longer than {BOUND} s")
        await cluster.settle(verdict)
    return verdict


def _left(pid: int) -> int:
    return Run.objects.running().filter(worker__contains=f":{pid}:").count()


async def _stream(cluster: Cluster, verdict: Verdict, seed: int, number: int, over: asyncio.Event) -> None:
    rng = random.Random(f"{seed} stream {number}")
    count = 0
    while not over.is_set():
        count += 1
        kind = READERS[(number + count) % len(READERS)]
        model = f"fake/numbered:{rng.choice((10, 20, 30))}ms:{rng.randint(20, 100)}"
        reader = kind(cluster.api_users[number % len(cluster.api_users)], f"s{number}q{count}", model)
        where = f"{reader.prompt} ({kind.name}, seed {seed})"
        try:
            while True:
                try:
                    # A client without a load balancer: it does not know which of the two processes is stopping.
                    await reader.prepare(rng.choice(cluster.processes).port)
                    break
                except (wire.Cut, OSError, wire.Refused):
                    await asyncio.sleep(0.05)
            verdict.facts["broken lines"] += await reader.insist(lambda: rng.choice(cluster.processes).port)
            verdict.facts["told to come back"] += reader.refused
        except (Disagreement, TimeoutError) as error:
            verdict.broken(f"{where}: {type(error).__name__} {error}")
            continue
        verdict.facts["answers"] += 1
        verdict.expect(reader.ended == "complete", f"{where}: {reader.ended} {reader.error[:200]}")
        length = int(model.rsplit(":", 1)[1])
        last = f"{length - 1}:{reader.prompt}"
        verdict.expect(last in reader.text and reader.text.count(f":{reader.prompt}") == length, f"{where}: not whole")
