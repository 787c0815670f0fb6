"""Many clients send one Idempotency-Key at once, with dropped connections and killed processes: billed once at most."""

from __future__ import annotations

import asyncio
import random

from tests.chaos.cluster import Cluster, running_cluster
from tests.chaos.readers import Disagreement, Reader
from tests.chaos.socket_readers import READERS
from tests.chaos.verdict import Verdict

PROMISE = "the same key is billed once at most, and all get the same answer"
AT_ONCE = 6
KILL_EVERY = 50
KINDS = tuple(each for each in READERS if each.name != "chat")
"""The chat API has no key: there the question itself is the key."""


async def run(seed: int, rounds: int) -> Verdict:
    verdict = Verdict(PROMISE)
    async with running_cluster(f"{seed} keys", processes=3) as cluster:
        waiting = list(range(rounds))[::-1]

        async def work() -> None:
            while waiting:
                number = waiting.pop()
                try:
                    async with asyncio.timeout(120):
                        await _one(cluster, verdict, seed, number)
                except (TimeoutError, Disagreement, AssertionError) as error:
                    verdict.broken(f"key {number} (seed {seed}): {type(error).__name__} {error}")

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
        await cluster.settle(verdict)
    return verdict


async def _one(cluster: Cluster, verdict: Verdict, seed: int, number: int) -> None:
    rng = random.Random(f"{seed} key {number}")
    kind = KINDS[number % len(KINDS)]
    api_user = cluster.api_users[number % len(cluster.api_users)]
    prompt, model = f"k{number}", f"fake/numbered:{rng.choice(('0', '2ms', '10ms'))}:{rng.randint(5, 40)}"
    first = kind(api_user, prompt, model)
    await first.prepared(lambda: cluster.another(rng).port)
    clients = [first, *(kind(api_user, prompt, model) for _ in range(rng.randint(4, 49)))]
    for each in clients[1:]:
        if hasattr(first, "conversation_id"):
            each.conversation_id = first.conversation_id
    killing = number % KILL_EVERY == KILL_EVERY // 2
    work = [_client(cluster, each, random.Random(f"{seed} key {number} {n}")) for n, each in enumerate(clients)]
    gathered = asyncio.gather(*work)
    if killing:
        while not any(each.acknowledged for each in clients) and not gathered.done():
            await asyncio.sleep(0.005)
        victim = cluster.another(rng)
        victim.kill()
        verdict.facts["kills after the accept"] += 1
        await victim.start()
        cluster.baseline[victim.pid] = victim.held()
    await gathered
    billed = [each for each in cluster.asked(prompt) if each.status == 200 or not each.status]
    where = f"key {number} ({kind.name}, {len(clients)} clients, seed {seed})"
    verdict.rounds += 1
    verdict.facts["requests"] += len(clients)
    verdict.expect(len(billed) <= 1, f"{where}: billed {len(billed)} times")
    endings = {(each.text, each.ended) for each in clients}
    verdict.expect(len(endings) == 1, f"{where}: {len(endings)} different answers {[e[1] for e in endings]}")
    if clients[0].ended == "complete":
        verdict.expect(len(billed) == 1, f"{where}: answered without asking")
    else:
        verdict.facts["interrupted"] += 1


async def _client(cluster: Cluster, reader: Reader, rng: random.Random) -> None:
    """Ask; some clients drop the connection once, at the start, and ask again."""
    if rng.random() < 0.3:
        asking = asyncio.create_task(reader.attempt(cluster.another(rng).port))
        await asyncio.sleep(rng.uniform(0.0, 0.05))
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        if not reader.ended:
            reader.run_id = ""
            reader.forget()
    await reader.insist(lambda: cluster.another(rng).port, timeout=100)
