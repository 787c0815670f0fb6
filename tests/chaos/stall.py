"""Four users resend the longest permitted histories repeatedly: nobody else's tokens are delayed by them."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time

from chatservice.testing import ROOT
from completions.models import Run
from tests.chaos import wire
from tests.chaos.cluster import ApiUser, Cluster, Process, database, running_cluster, until
from tests.chaos.floods import LARGEST
from tests.chaos.verdict import Verdict

PROMISE = "four users send the largest requests: the largest gap between others' tokens"
SECONDS = 30
STREAMS = 20
FLOODS = 4
GAP = 0.150
GENEROUS_GAP = 2.0
"""On a machine that runs other tests at the same time; one commit of 9,000 messages takes as long on a quiet one."""
RATIO = 2
"""The gap may be this many times the gap without the four users, where that alone comes near to GAP."""
PROMPT = " ".join("abcdefghij"[number % 10] for number in range(250))


async def run(seed: int, rounds: int) -> Verdict:
    """`rounds` is the duration of each part in seconds."""
    verdict = Verdict(PROMISE)
    # The built-in model sends a token every 20 ms. Rows per minute are unlimited, as that limit is not tested here.
    setting = running_cluster(
        f"{seed} stall", processes=1, api_users=FLOODS + 5, ECHO_DELAY="0.02", LIMIT_ROWS_PER_MINUTE="0"
    )
    async with setting as cluster:
        [process] = cluster.processes
        watchers = cluster.api_users[FLOODS:]
        quiet, own = await _largest_gap(process, watchers, rounds)
        flooding = asyncio.create_task(_flood(process, cluster.api_users[:FLOODS], rounds))
        loud, own_loud = await _largest_gap(process, watchers, rounds)
        seen = await flooding
        verdict.rounds = sum(seen.values())
        verdict.facts.update(seen)
        verdict.times.append(loud)
        verdict.notes.append(f"{quiet * 1e3:.0f} ms without them")
        verdict.notes.append(f"the measuring process itself was late by {own * 1e3:.0f} and {own_loud * 1e3:.0f} ms")
        limit = max(GAP, RATIO * quiet) if rounds >= SECONDS else GENEROUS_GAP
        verdict.expect(loud <= limit, f"a gap of {loud * 1e3:.0f} ms, {quiet * 1e3:.0f} ms without the four users")
        verdict.expect(seen.get("new accepted") and seen.get("branch accepted"), f"nothing was accepted: {seen}")
        verdict.expect(not seen.get("too long accepted"), f"more than the limit was accepted: {seen}")
        await _whole(cluster, verdict)
        await cluster.settle(verdict)
    return verdict


async def _largest_gap(process: Process, watchers: list[ApiUser], seconds: float) -> tuple[float, float]:
    """Return the longest wait between two tokens in any stream, and this process's own delay at that time."""
    over = time.monotonic() + seconds
    lateness = asyncio.create_task(_lateness(over))
    api_users = [watchers[number % len(watchers)] for number in range(STREAMS)]
    gaps = await asyncio.gather(*(_watch(process.port, api_user, over) for api_user in api_users))
    return max(gaps), await lateness


async def _watch(port: int, api_user: ApiUser, over: float) -> float:
    largest = 0.0
    body = {"content": PROMPT, "model": "echo"}
    while time.monotonic() < over:
        last = None
        path = "/v1/chat/conversations/stream"
        async with wire.request(port, "POST", path, secret=api_user.secret, body=body) as answer:
            async for event in answer.events():
                if '"ai_chunk"' in event.data:
                    now = time.monotonic()
                    largest = max(largest, now - (last or now))
                    last = now
                if time.monotonic() > over:
                    break
    return largest


async def _lateness(over: float) -> float:
    worst = 0.0
    while (before := time.monotonic()) < over:
        await asyncio.sleep(0.005)
        worst = max(worst, time.monotonic() - before - 0.005)
    return worst


async def _flood(process: Process, api_users: list[ApiUser], seconds: float) -> dict[str, int]:
    command = [sys.executable, "-m", "tests.chaos.floods", str(process.port), str(seconds)]
    environment = {**os.environ, "CHAOS_KEYS": " ".join(api_user.secret for api_user in api_users)}
    work = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE)
    said, _ = await work.communicate()
    return json.loads(said)


async def _whole(cluster: Cluster, verdict: Verdict) -> None:
    """Every accepted history is stored from its first message to its answer."""
    users = [api_user.user for api_user in cluster.api_users[:FLOODS]]

    def none_runs() -> bool:
        return not Run.objects.running().filter(user__in=users).exists()

    await until(lambda: database(none_runs), timeout=60, what="the end of the last run")
    for wrong in await database(_broken_chains, users):
        verdict.broken(wrong)


def _broken_chains(users: list) -> list[str]:
    """Describe each answer whose branch has a wrong length or whose conversation has gaps in its positions."""
    wrong = []
    for run in Run.objects.filter(user__in=users).select_related("message"):
        assert run.conversation is not None
        links = dict(run.conversation.messages.values_list("id", "parent_id"))
        length, at = 0, run.message_id
        while at is not None:
            length, at = length + 1, links[at]
        if length not in (2, LARGEST + 1, LARGEST + 3):  # a short call, a new history, and one after the short call
            wrong.append(f"a branch of {length} messages in {run.conversation_id}")
        positions = sorted(run.conversation.messages.values_list("position", flat=True))
        if positions != list(range(1, len(positions) + 1)):
            wrong.append(f"positions with holes in {run.conversation_id}")
    return wrong
