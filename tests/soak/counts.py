"""What the processes count for Prometheus, and whether that is what their clients saw and what is stored."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

from django.urls import Resolver404, resolve

from chatservice.middleware import PROBES
from completions.models import Run
from observability.tests.cases import Exposed
from search.indexing import CLAIM_SECONDS
from tests.chaos import wire
from tests.chaos.cluster import Process, database, until
from tests.chaos.stored import pid_of
from tests.chaos.verdict import Verdict

PAUSE = 2.0
PATIENCE = 12.0
MARGIN = 2.0
"""Seconds after which a request that its client has whole is counted; the machine may be busy."""
REQUESTS, ANSWERS = "chatservice_http_requests_total", "chatservice_answers_total"
AT_REST = (
    *("chatservice_streams_open", "chatservice_sockets_open", "chatservice_answers_in_progress"),
    *("chatservice_answers_queued", "chatservice_search_index_queue", "chatservice_commit_oldest_wait_seconds"),
)
"""What is 0 soon after the last client has gone."""
REST_SECONDS = CLAIM_SECONDS + 30.0
"""What the index had claimed when a disk was full is taken again after CLAIM_SECONDS."""
STARTING = "/healthz"
"""Asked only while nginx starts, by what starts it."""
ENDS = ("complete", "failed", "interrupted")
Key = tuple[str, str, str]
"""Method, route and status."""


@dataclass
class Lifetime:
    """One process from its start to its death, in Unix seconds, and what it said when it was asked last."""

    port: int
    born: float = 0.0
    asked: float = 0.0
    text: str = ""
    died: float = 0.0


@dataclass
class Counts:
    """`ports` has the port for metrics of each process's port."""

    ports: dict[int, int]
    lifetimes: dict[int, Lifetime] = field(default_factory=dict)
    """By the id of the process."""

    async def keep_asking(self, processes: list[Process]) -> None:
        while True:
            await asyncio.gather(*(self.scrape(each) for each in processes))
            await asyncio.sleep(PAUSE)

    async def scrape(self, process: Process) -> bool:
        """Ask a process what it has counted; what it said before stays if it does not answer."""
        if process.popen is None:
            return False
        life, asked = self.lifetimes.setdefault(process.pid, Lifetime(process.port)), time.time()
        try:
            async with wire.request(self.ports[process.port], "GET", "/metrics", patience=PATIENCE) as answer:
                text = await answer.body()
        except (wire.Cut, wire.Refused, OSError):
            return False
        if asked > life.asked:
            life.asked, life.text = asked, text
        return True

    async def judge(self, processes: list[Process], exchanges: list[wire.Exchange], verdict: Verdict) -> None:
        """Compare, after the clients are gone, with what these saw and with what is stored."""
        for process in processes:
            with contextlib.suppress(AssertionError):
                await until(partial(self._is_at_rest, process), timeout=REST_SECONDS, what="rest")
            for name, value in self._not_at_rest(process).items():
                verdict.broken(f"port {process.port}: {name} is {value:g} {REST_SECONDS:.0f} s after the last question")
            born = 0.0
            for pid in (*process.deaths, process.pid):
                died = process.deaths.get(pid, 0.0)
                if pid in self.lifetimes:
                    self.lifetimes[pid].born, self.lifetimes[pid].died = born, died
                born = died
        told = [(life, Exposed(life.text)) for life in self.lifetimes.values()]
        known = list(_known(exchanges))
        for life, exposed in told:
            self._judge_requests(life, exposed, known, verdict)
        await self._judge_answers(told, verdict)
        verdict.rounds = len(told)

    async def _is_at_rest(self, process: Process) -> bool:
        return await self.scrape(process) and not self._not_at_rest(process)

    def _not_at_rest(self, process: Process) -> dict[str, float]:
        exposed = Exposed(self.lifetimes[process.pid].text)
        return {name: value for name in AT_REST if (value := exposed.total(name))}

    def _judge_requests(
        self, life: Lifetime, exposed: Exposed, known: list[tuple[wire.Exchange, str, list[int]]], verdict: Verdict
    ) -> None:
        """Each request that its client has whole is counted once, and nothing that no client asked."""
        sure: Counter[Key] = Counter()
        possible: Counter[Key] = Counter()
        unknown: Counter[tuple[str, str]] = Counter()
        for each, route, ports in known:
            ended = each.ended or each.began
            if ended < life.born or (life.died and each.began > life.died):
                continue
            if each.status and not each.from_proxy and ports == [life.port]:
                possible[each.method, route, str(each.status)] += 1
                sure[each.method, route, str(each.status)] += bool(each.ended and each.ended < life.asked - MARGIN)
            elif not each.status or life.port in ports:
                unknown[each.method, route] += 1
        counted: Counter[Key] = exposed.by(REQUESTS, "method", "route", "status")
        for key in counted.keys() | sure.keys():
            if key[1] == STARTING:
                continue
            most = possible[key] + unknown[key[:2]]
            verdict.expect(
                sure[key] <= counted[key] <= most,
                f"port {life.port}: {' '.join(key)} counted {counted[key]:.0f} times; "
                f"clients have {sure[key]} and know of at most {most}",
            )
        verdict.facts["requests counted"] += round(counted.total())
        verdict.facts["requests that clients had whole before"] += sure.total()

    async def _judge_answers(self, told: list[tuple[Lifetime, Exposed]], verdict: Verdict) -> None:
        """Each end that is stored is counted once, except by a process that was killed before it was asked again."""
        counted: Counter[tuple[str]] = sum((exposed.by(ANSWERS, "end") for _, exposed in told), Counter())
        runs = await database(_ends)
        killed = {pid: life for pid, life in self.lifetimes.items() if life.died}
        for end in ENDS:
            times = [(pid, at) for state, pid, at in runs if state == end]
            lost = sum(_may_be_lost(pid, at, killed, by_any=end == "interrupted") for pid, at in times)
            verdict.expect(
                len(times) - lost <= counted[end,] <= len(times),
                f"{counted[end,]:.0f} answers counted as {end}, {len(times)} stored, of which {lost} may be lost",
            )
            verdict.facts[f"answers counted as {end}"] += round(counted[end,])
            verdict.facts["ends that a kill may have lost"] += lost


def _known(exchanges: list[wire.Exchange]) -> Iterator[tuple[wire.Exchange, str, list[int]]]:
    """Yield each request with its route, and the ports of the processes that it reached."""
    for each in exchanges:
        path = each.path.partition("?")[0]
        try:
            route = f"/{resolve(path).route}"
        except Resolver404:
            route = path if path in PROBES else "other"
        ports = [int(address.rpartition(":")[2]) for address in each.by.split(", ") if address]
        yield each, route, ports or [each.port]


def _may_be_lost(worker: int, at: float, killed: dict[int, Lifetime], *, by_any: bool) -> bool:
    """Tell whether a killed process may have counted this end after it was asked last.

    Any process may have ended the answer of a process that died; other answers end where they are written.
    """
    return any(life.asked - 1.0 <= at <= life.died + 1.0 for pid, life in killed.items() if by_any or pid == worker)


def _ends() -> list[tuple[str, int, float]]:
    """Return how each answer ended, the id of the process that wrote it, and when it ended."""
    runs = Run.objects.exclude(finished_at=None)
    return [(run.state, pid_of(run), run.finished_at.timestamp()) for run in runs if run.finished_at is not None]
