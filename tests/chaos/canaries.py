"""Many users, each with a secret word, and randomly dropped connections: nobody ever receives another's word."""

from __future__ import annotations

import asyncio
import random
import re

from tests.chaos import wire
from tests.chaos.cluster import Cluster, running_cluster
from tests.chaos.socket_readers import READERS
from tests.chaos.verdict import Verdict

PROMISE = "no byte of one user's reaches another"
API_USERS = 50
AT_ONCE = 40
CANARY = re.compile(r"canary(\d+)x")


async def run(seed: int, rounds: int, *, redis_url: str = "") -> Verdict:
    verdict = Verdict(PROMISE)
    async with running_cluster(f"{seed} canaries", processes=2, api_users=API_USERS, REDIS_URL=redis_url) as cluster:
        waiting = list(range(rounds))[::-1]

        async def work() -> None:
            while waiting:
                await _one(cluster, verdict, seed, waiting.pop())

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
        await cluster.settle(verdict)
    return verdict


async def _one(cluster: Cluster, verdict: Verdict, seed: int, number: int) -> None:
    rng = random.Random(f"{seed} canary {number}")
    who = number % API_USERS
    kind = READERS[rng.randrange(len(READERS))]
    prompt = f"canary{who}x{number}"
    reader = kind(cluster.api_users[who], prompt, f"fake/numbered:{rng.choice(('0', '1ms'))}:{rng.randint(3, 12)}")
    patience = rng.uniform(0.001, 0.08) if rng.random() < 0.3 else 30.0
    try:
        async with asyncio.timeout(patience):
            await reader.prepare(cluster.another(rng).port)
            while not reader.ended:
                await reader.attempt(cluster.another(rng).port)
    except TimeoutError:
        verdict.facts["dropped lines"] += 1
    except (wire.Cut, OSError, wire.Refused) as error:
        verdict.broken(f"request {number} ({kind.name}, seed {seed}): {error}")
    seen = {int(each) for each in CANARY.findall(bytes(reader.raw).decode(errors="replace") + reader.text)}
    verdict.rounds += 1
    verdict.facts["with the own word"] += who in seen
    verdict.expect(seen <= {who}, f"request {number} ({kind.name}, seed {seed}) of {who} received words of {seen}")
