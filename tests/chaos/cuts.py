"""A stream is cut and resumed elsewhere repeatedly; in the end its text equals the stored text, byte for byte."""

from __future__ import annotations

import asyncio
import itertools
import random
from dataclasses import dataclass

from completions.models import Run
from tests.chaos import wire
from tests.chaos.cluster import Cluster, Process, database, running_cluster
from tests.chaos.proxy import door, some_fault
from tests.chaos.readers import Disagreement, Reader
from tests.chaos.socket_readers import FOLLOWERS, READERS
from tests.chaos.verdict import Verdict

PROMISE = "a dropped stream resumes with nothing missing or repeated"
AT_ONCE = 48
DOOMED = 0.25
"""The share of schedules in which the process that writes the answer is killed."""
ENOUGH = 8
"""The victim is killed once it is writing this many doomed answers."""
IMPATIENT = 0.8
TWINS = 0.2


@dataclass
class Storm:
    """The schedules still to run, and the process that is killed next."""

    cluster: Cluster
    verdict: Verdict
    seed: int
    waiting: list[int]
    victim: Process
    doomed: int = 0
    over: bool = False


async def run(seed: int, rounds: int) -> Verdict:
    verdict = Verdict(PROMISE)
    async with running_cluster(f"{seed} cuts", processes=4) as cluster:
        storm = Storm(cluster, verdict, seed, list(range(rounds))[::-1], cluster.processes[0])
        killing = asyncio.create_task(_kill(storm))
        await asyncio.gather(*(_work(storm) for _ in range(min(rounds, AT_ONCE))))
        storm.over = True
        await killing
        await cluster.settle(verdict)
    return verdict


async def _kill(storm: Storm) -> None:
    """Kill the processes in turn, each while it writes some of the doomed answers."""
    rng = random.Random(f"{storm.seed} kills")
    following = itertools.cycle(storm.cluster.processes[1:] + storm.cluster.processes[:1])
    while True:
        while storm.doomed < ENOUGH and (storm.waiting or not storm.doomed):
            if storm.over:
                return
            await asyncio.sleep(0.05)
        await asyncio.sleep(rng.uniform(0.0, 1.0))
        victim = storm.victim
        # Start no more doomed answers on this process: it is killed now, and its next turn is far off.
        storm.victim, storm.doomed = next(following), 0
        victim.kill()
        await victim.start()
        storm.cluster.baseline[victim.pid] = victim.held()
        storm.verdict.facts["kills"] += 1


async def _work(storm: Storm) -> None:
    while storm.waiting:
        await _schedule(storm, storm.waiting.pop())


async def _schedule(storm: Storm, number: int) -> None:
    cluster, verdict = storm.cluster, storm.verdict
    rng = random.Random(f"{storm.seed} cuts {number}")
    kind = READERS[number % len(READERS)]
    doomed = rng.random() < DOOMED
    # A doomed answer lasts until its process is killed.
    words = 3000 if doomed else rng.randint(60, 140)
    api_user = cluster.api_users[number % len(cluster.api_users)]
    reader = kind(api_user, f"c{number}", f"fake/numbered:{rng.choice((8, 12, 16))}ms:{words}")
    where = f"schedule {number} ({kind.name}, seed {storm.seed})"
    twin: asyncio.Task[Reader] | None = None
    cuts, made, last = rng.randint(1, 10), 0, 0
    try:
        async with asyncio.timeout(120):
            await reader.prepared(lambda: cluster.another(rng).port)
            told = False
            while not reader.ended:
                process = storm.victim if doomed and not reader.run_id else cluster.another(rng, than=last)
                last = process.port
                try:
                    if made < cuts:
                        made += 1
                        async with door(process.port, some_fault(rng, most=1500)) as port:
                            await reader.attempt(port, patience=IMPATIENT)
                    else:
                        await reader.attempt(process.port)
                except (wire.Cut, OSError, wire.Refused):
                    verdict.facts["broken lines"] += 1
                    await asyncio.sleep(0.01)
                if doomed and reader.run_id and not told:
                    told = True
                    storm.doomed += 1
                if twin is None and reader.run_id and rng.random() < TWINS:
                    twin = asyncio.create_task(_twin(cluster, rng, reader))
            other = await twin if twin is not None else None
            for each in (reader, other):
                if each is not None and each.run_id:
                    await each.check(lambda: cluster.another(rng).port)
    except (TimeoutError, Disagreement, AssertionError) as error:
        verdict.broken(f"{where}: {type(error).__name__} {error}")
        return
    verdict.rounds += 1
    await _judge(verdict, where, reader)
    verdict.facts["by websocket"] += kind.name in ("websocket", "graphql")
    if other is not None:
        verdict.facts["second readers"] += 1
        verdict.expect(other.text == reader.text, f"{where}: a second reader has another text")


async def _twin(cluster: Cluster, rng: random.Random, reader: Reader) -> Reader:
    """Read the same run from its start, as a second tab would; only kills interrupt this reader."""
    kind = rng.choice(FOLLOWERS)
    twin = kind(reader.api_user, reader.prompt, reader.model, run_id=reader.run_id)
    await twin.insist(lambda: cluster.another(rng).port)
    return twin


async def _judge(verdict: Verdict, where: str, reader: Reader) -> None:
    # Text that a client has received is already stored, whichever process it asks.
    row = await database(_run, reader)
    stored = row.message.content if row.message else ""
    verdict.expect(stored == reader.text, f"{where}: {len(stored)} characters stored, {len(reader.text)} received")
    agrees = reader.untold or row.state == ("complete" if reader.ended == "complete" else "interrupted")
    verdict.expect(agrees, f"{where}: the client heard {reader.ended}, the run is {row.state}")
    _, count = reader.model.removeprefix("fake/numbered:").split(":")
    words = [f"{n}:{reader.prompt}{(' ', ' 🙂', chr(10), ' ö')[n % 4]}" for n in range(int(count))]
    whole = "".join(words)
    verdict.expect(whole.startswith(stored), f"{where}: the stored text is not what the upstream said")
    if row.state == "complete":
        verdict.expect(stored == whole, f"{where}: complete, but not whole")
    verdict.facts["lost their producer"] += row.state == "interrupted"


def _run(reader: Reader) -> Run:
    runs = Run.objects.select_related("message")
    if reader.run_id:
        return runs.get(pk=reader.run_id)
    # The client was cut off before it learned the run's id, and found the answer finished.
    return runs.get(user=reader.api_user.user, message__parent__content=reader.prompt)
