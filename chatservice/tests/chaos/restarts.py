"""Rolling restarts of two processes under many streams: who comes back sees no error, no run is left open."""

from __future__ import annotations

import asyncio
import random
import time

from chatservice.tests.chaos import wire
from chatservice.tests.chaos.house import House, database, house
from chatservice.tests.chaos.readers import Disagreement
from chatservice.tests.chaos.socket_readers import READERS
from chatservice.tests.chaos.verdict import Verdict
from completions.models import Run

PROMISE = "rolling restarts: no error for a client that comes back, exit 0"
STREAMS = 50
DRAIN = 10
BOUND = DRAIN + 5.0


async def run(seed: int, rounds: int) -> Verdict:
    verdict = Verdict(PROMISE)
    async with house(f"{seed} restarts", processes=2, DRAIN_SECONDS=str(DRAIN)) as place:
        over = asyncio.Event()
        streams = [asyncio.create_task(_stream(place, verdict, seed, n, over)) for n in range(STREAMS)]
        rng = random.Random(f"{seed} restarts")
        for _ in range(rounds):
            for process in place.processes:
                await asyncio.sleep(rng.uniform(0.05, 0.5))
                pid, began = process.pid, time.monotonic()
                code = await process.stop()
                verdict.times.append(time.monotonic() - began)
                verdict.expect(code == 0, f"exit code {code} of process {pid}")
                left = await database(_left, pid)
                verdict.expect(not left, f"process {pid} left {left} runs open")
                await process.start()
                place.baseline[process.pid] = process.held()
            verdict.rounds += 1
        over.set()
        await asyncio.gather(*streams)
        slow = sum(each > BOUND for each in verdict.times)
        verdict.expect(not slow, f"{slow} stops took longer than {BOUND} s")
        await place.settle(verdict)
    return verdict


def _left(pid: int) -> int:
    return Run.objects.running().filter(worker__contains=f":{pid}:").count()


async def _stream(place: House, verdict: Verdict, seed: int, number: int, over: asyncio.Event) -> None:
    rng = random.Random(f"{seed} stream {number}")
    count = 0
    while not over.is_set():
        count += 1
        kind = READERS[(number + count) % len(READERS)]
        model = f"fake/numbered:{rng.choice((10, 20, 30))}ms:{rng.randint(20, 100)}"
        reader = kind(place.people[number % len(place.people)], f"s{number}q{count}", model)
        where = f"{reader.prompt} ({kind.name}, seed {seed})"
        try:
            while True:
                try:
                    # A client without a balancer: it does not know which of the two is on its way out.
                    await reader.prepare(rng.choice(place.processes).port)
                    break
                except (wire.Cut, OSError, wire.Refused):
                    await asyncio.sleep(0.05)
            verdict.facts["broken lines"] += await reader.insist(lambda: rng.choice(place.processes).port)
            verdict.facts["told to come back"] += reader.refused
        except (Disagreement, TimeoutError) as error:
            verdict.broken(f"{where}: {type(error).__name__} {error}")
            continue
        verdict.facts["answers"] += 1
        verdict.expect(reader.ended == "complete", f"{where}: {reader.ended} {reader.error[:200]}")
        length = int(model.rsplit(":", 1)[1])
        last = f"{length - 1}:{reader.prompt}"
        verdict.expect(last in reader.text and reader.text.count(f":{reader.prompt}") == length, f"{where}: not whole")
