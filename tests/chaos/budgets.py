"""kill -9, cancels and deletions under many callers whose budgets are nearly used up: what is counted stays exact.

What a request reserves is at least what it can be charged. Only runs whose upstream reported nothing, since they were
killed, cancelled or deleted, are estimated; the words of this upstream have four letters, of which the estimate makes
one token each, so that here an estimate is never above what was reserved, and no limit may be passed at all. An
estimate is at most what the upstream produced, and at least what the client was shown of an answer that is kept. Of
one that is not kept, and whose process was killed, nothing but the question can be known.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time

from chatservice.dialects import DIALECTS
from completions.models import Run
from foundation.database import StorageError
from tests.chaos import wire
from tests.chaos.budget_judge import judge
from tests.chaos.budget_rows import (
    DELETING,
    USERS,
    clean_up,
    give_more,
    nothing_is_reserved,
    reservations,
    reserved_now,
    set_up,
    wrong_now,
)
from tests.chaos.cluster import ApiUser, database, running_cluster, until
from tests.chaos.spenders import IN_LINE, KINDS, FirstInLine, Spending, ask
from tests.chaos.verdict import Verdict

PROMISE = "budgets: no limit is passed, nothing stays reserved for 15 s, and the ledger is what the upstream counted"
CALLERS, CALLERS_A_ROUND = 64, 8
BOUND = 15.0
MODELS = ("fake/metered:5ms:30", "fake/metered:0:20", "fake/metered:20ms:40", "fake/metered:30ms:40")
WHAT = ("kill", "cancel", "delete", "cancel")
LOOKS_A_RAISE = 8
TWINS = 0.1
"""How many requests are sent twice at the same time, with one key."""
AT_ONCE = 6
API = "/v1/chat" if "chat_v1" in DIALECTS else ""


async def run(seed: int, rounds: int) -> Verdict:
    verdict = Verdict(PROMISE)
    users = await database(set_up)
    try:
        async with running_cluster(f"{seed} budgets", processes=4, api_users=0, SWEEP_SECONDS="1") as cluster:
            cluster.api_users = users
            state = Spending(cluster, verdict, seed)
            callers = min(CALLERS, CALLERS_A_ROUND * rounds)
            work = [asyncio.create_task(_call(state, number)) for number in range(callers)]
            watch = asyncio.create_task(_watch(state))
            await _disturb(state, rounds)
            state.over = True
            await asyncio.gather(*work)
            ended = time.monotonic()
            try:
                await until(lambda: database(nothing_is_reserved), timeout=BOUND, what="the end of all reservations")
            except AssertionError as late:
                verdict.broken(f"{late}: {await database(reserved_now)}")
            verdict.times.append(time.monotonic() - ended)
            state.settled = True
            await watch
            cluster.baseline = {}
            await cluster.settle(verdict)
            await judge(state)
    finally:
        await database(clean_up)
    return verdict


async def _disturb(state: Spending, rounds: int) -> None:
    """Kill a process, stop answers or delete conversations, one after the other at random."""
    rng, cluster = random.Random(f"{state.seed} budgets"), state.cluster
    restarts: dict[int, asyncio.Task[None]] = {}
    for number in range(rounds):
        await asyncio.sleep(rng.uniform(0.05, 1.0))
        what = (
            ("kill", "cancel", "delete")[number] if number < 3 else rng.choice(("kill", "cancel", "cancel", "delete"))
        )
        if what == "kill":
            victim = rng.choice(cluster.processes)
            if victim.port in restarts:
                await restarts.pop(victim.port)
            await until(lambda: len(cluster.alive) > 1, timeout=60, what="a second process")
            # In some rounds only the lease can show that the process died; a short run does not wait for that.
            victim.kill(stay=rounds >= BOUND and rng.random() < 0.3)
            restarts[victim.port] = asyncio.create_task(victim.start())
        else:
            allowed = [cluster.api_users[n] for n in (DELETING if what == "delete" else range(USERS))]
            running = await until(lambda: database(_running, allowed, what), timeout=60, what="an answer")  # noqa: B023
            chosen = rng.sample(running, min(AT_ONCE, len(running)))
            await asyncio.gather(*(_stop(state, what, each, rng.choice(cluster.alive).port) for each in chosen))
        state.verdict.facts[f"{what}s"] += 1
        state.verdict.rounds += 1
    await asyncio.gather(*restarts.values())


async def _stop(state: Spending, what: str, run: Run, port: int) -> None:
    secret = next(each.secret for each in state.cluster.api_users if each.user.pk == run.user_id)
    method, path = "POST", f"{API}/runs/{run.pk}/cancel"
    if what == "delete":
        method, path = "DELETE", f"{API}/conversations/{run.conversation_id}"
    try:
        await wire.call(port, method, path, secret=secret)
    except wire.Refused as refused:  # it is over, or deleted already, or the machine is busy
        state.verdict.expect(refused.status in (404, 409, 503), f"{what} {run.pk}: {refused}")
    except (wire.Cut, OSError):
        pass
    else:
        if what == "delete":
            state.deleted[str(run.pk)] = int(run.worker.split(":")[1])


async def _call(state: Spending, number: int) -> None:
    rng = random.Random(f"{state.seed} spender {number}")
    count = 0
    while not state.over:
        count += 1
        kind = KINDS[(number + count) % len(KINDS)]
        api_user, prompt = state.cluster.api_users[number % USERS], f"b{number}q{count}"
        model, port = rng.choice(MODELS), state.cluster.another(rng).port
        has_key = kind.name != "chat" and number % USERS not in DELETING  # one that was deleted starts again
        twins = 1 + (has_key and rng.random() < TWINS)
        first, *others = [kind(api_user, prompt, model) for _ in range(twins)]
        try:
            await first.prepare(port)
        except (wire.Cut, wire.Refused, OSError):
            continue
        for each in others:
            each.conversation_id = getattr(first, "conversation_id", "")
        more = IN_LINE if isinstance(first, FirstInLine) and not others else 0
        elsewhere = [state.cluster.another(rng, than=port).port for _ in others]
        told = await asyncio.gather(
            *(ask(each, at, more=more) for each, at in zip([first, *others], [port, *elsewhere], strict=True))
        )
        turn = [each for found in told for each in found]
        state.asked.append(turn)
        if any(each.status != 200 for each in turn):
            await asyncio.sleep(rng.uniform(0.05, 0.3))


async def _watch(state: Spending) -> None:
    """Look at the budgets all the time, and give a little more to those that are used up."""
    while not state.settled:
        for wrong in await database(wrong_now):
            state.verdict.broken(wrong)
        state.reserved |= await database(reservations)
        state.verdict.facts["looks"] += 1
        if not state.over and state.verdict.facts["looks"] % LOOKS_A_RAISE == 0:
            with contextlib.suppress(*StorageError):  # SQLite's lock is not fair
                await database(give_more)
        await asyncio.sleep(0.05)


def _running(users: list[ApiUser], what: str) -> list[Run]:
    runs = Run.objects.running().filter(user__in=[each.user for each in users])
    return list(runs.exclude(conversation=None) if what == "delete" else runs)
