"""Many users, each with a word of their own; lines dropped at random: nobody ever receives another's word."""

from __future__ import annotations

import asyncio
import random
import re

from chatservice.tests.chaos import wire
from chatservice.tests.chaos.house import House, house
from chatservice.tests.chaos.socket_readers import READERS
from chatservice.tests.chaos.verdict import Verdict

PROMISE = "no byte of one user's reaches another"
PEOPLE = 50
AT_ONCE = 40
CANARY = re.compile(r"canary(\d+)x")


async def run(seed: int, rounds: int, *, redis_url: str = "") -> Verdict:
    verdict = Verdict(PROMISE)
    async with house(f"{seed} canaries", processes=2, people=PEOPLE, REDIS_URL=redis_url) as place:
        waiting = list(range(rounds))[::-1]

        async def work() -> None:
            while waiting:
                await _one(place, verdict, seed, waiting.pop())

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
        await place.settle(verdict)
    return verdict


async def _one(place: House, verdict: Verdict, seed: int, number: int) -> None:
    rng = random.Random(f"{seed} canary {number}")
    who = number % PEOPLE
    kind = READERS[rng.randrange(len(READERS))]
    prompt = f"canary{who}x{number}"
    reader = kind(place.people[who], prompt, f"fake/numbered:{rng.choice(('0', '1ms'))}:{rng.randint(3, 12)}")
    patience = rng.uniform(0.001, 0.08) if rng.random() < 0.3 else 30.0
    try:
        async with asyncio.timeout(patience):
            await reader.prepare(place.another(rng).port)
            await reader.attempt(place.another(rng).port)
    except TimeoutError:
        verdict.facts["dropped lines"] += 1
    except (wire.Cut, OSError, wire.Refused) as error:
        verdict.broken(f"request {number} ({kind.name}, seed {seed}): {error}")
    seen = {int(each) for each in CANARY.findall(bytes(reader.raw).decode(errors="replace") + reader.text)}
    verdict.rounds += 1
    verdict.facts["with the own word"] += who in seen
    verdict.expect(seen <= {who}, f"request {number} ({kind.name}, seed {seed}) of {who} received words of {seen}")
