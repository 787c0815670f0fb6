"""The load generator, a process of its own: reads one job as JSON from stdin, prints its result as JSON.

Jobs: `streams`, `responses` and `plain` keep `clients` busy for `seconds`, `first` asks questions one by one,
`held` starts `clients` answers over `ramp` seconds and watches the gaps in them.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import uvloop

from benchmarks import wire
from benchmarks.client import Answer, Connection
from scripts.procfs import Watch, cpu_seconds, resident_bytes, tree

MAX_ERRORS = 100
SAMPLE_SECONDS = 0.25


class Job(msgspec.Struct, kw_only=True):
    """One measurement of one competitor; `roles` are the process ids whose CPU is counted.

    `responses` is `streams` on the path of the Responses API.
    """

    mode: str
    host: str
    port: int
    path: str
    key: str
    model: str
    clients: int
    first_number: int
    seconds: float = 0.0
    count: int = 0
    ramp: float = 0.0
    timeout: float = 60.0
    roles: dict[str, int] = {}


class _Text(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Text | None = None
    message: _Text | None = None
    finish_reason: str | None = None


class _Body(msgspec.Struct):
    choices: list[_Choice] = []


class _Response(msgspec.Struct):
    status: str = ""


class _Event(msgspec.Struct):
    type: str
    sequence_number: int
    delta: str = ""
    response: _Response | None = None


_read_body = msgspec.json.Decoder(_Body).decode
_read_chunks = msgspec.json.Decoder(list[_Body]).decode
_read_events = msgspec.json.Decoder(list[_Event]).decode


def fault_of(answer: Answer, *, tokens: int, stream: bool, path: str = wire.CHAT) -> str:
    """Return what is wrong with an answer; empty if it is complete and unaltered."""
    if answer.error:
        return answer.error
    if answer.status != 200:
        return f"status {answer.status}"
    body = b"".join(answer.parts)
    try:
        if stream:
            events = [line[5:] for line in body.split(b"\n") if line.startswith(b"data:")]
            if not events or events[-1].strip() != b"[DONE]":
                return "no [DONE]"
            # Compare the text, not the chunks: a competitor may merge several tokens into one chunk.
            if path == wire.RESPONSES:
                return _fault_of_events(_read_events(b"[%b]" % b",".join(events[:-1])), tokens, answer.number)
            choices = [one for chunk in _read_chunks(b"[%b]" % b",".join(events[:-1])) for one in chunk.choices]
            text = "".join([one.delta.content for one in choices if one.delta and one.delta.content])
            finished = [one.finish_reason for one in choices if one.finish_reason]
        else:
            choices = _read_body(body).choices
            text = "".join([one.message.content for one in choices if one.message and one.message.content])
            finished = [one.finish_reason for one in choices if one.finish_reason]
    except msgspec.MsgspecError:
        return "malformed JSON"
    if text != wire.expected_text(tokens, answer.number):
        return "text differs"
    return "" if finished == ["stop"] else f"finish reasons {finished}"[:60]


def _fault_of_events(events: list[_Event], tokens: int, number: int) -> str:
    if [event.sequence_number for event in events] != [*range(len(events))]:
        return "numbers differ"
    if "".join([event.delta for event in events]) != wire.expected_text(tokens, number):
        return "text differs"
    last = events[-1].response
    return "" if last is not None and last.status == "completed" else f"ended with {events[-1].type}"[:60]


class Load:
    """Runs one job and counts its results."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.stream = job.mode != "plain"
        self.tokens = int(job.model.rsplit("-", 1)[1])
        self.number = job.first_number
        self.answers: list[Answer] = []  # for `held`: checked after the run so that checking does not disturb it
        self.faults: Counter[str] = Counter()
        self.example = ""
        self.good = 0
        self.durations: list[float] = []
        self.firsts: list[float] = []
        self.going = 0
        self.peak = 0
        self.stop_at = 0.0
        self.done = asyncio.Event()
        self.clients = [Connection(job.host, job.port, job.path, job.key, self._on_answer) for _ in range(job.clients)]

    async def run(self) -> dict[str, Any]:
        """Run the job to its end, or to its timeout, and return the result."""
        for begin in range(0, len(self.clients), 50):  # in batches, so that no accept queue overflows
            await asyncio.gather(*(client.open() for client in self.clients[begin : begin + 50]))
        await asyncio.sleep(0.1)
        gc.collect()
        gc.disable()  # the run is short, and our own collections would show up as gaps
        loop = asyncio.get_running_loop()
        samples: list[tuple[float, float, int]] = []
        watch = Watch(self.job.roles)
        began = time.perf_counter()
        self.stop_at = began + self.job.seconds
        for index, client in enumerate(self.clients):
            loop.call_later(self.job.ramp * index / len(self.clients), self._ask, client)
        sampler = loop.create_task(self._sample(samples)) if self.job.mode == "held" else None
        try:
            await asyncio.wait_for(self.done.wait(), self.job.ramp + self.job.seconds + self.job.timeout)
        except TimeoutError:
            self.stop_at = 0.0
            for client in self.clients:
                client.give_up()
        wall = time.perf_counter() - began
        spent = watch.stop()
        if sampler:
            sampler.cancel()
        return {**self._result(wall), "cpu": spent.by_role, "foreign": spent.foreign, **self._held(began, samples)}

    def _ask(self, client: Connection) -> None:
        self.number += 1
        self.going += 1
        self.peak = max(self.peak, self.going)
        client.ask(self.number, wire.request_body(self.job.model, self.number, stream=self.stream, path=self.job.path))

    def _on_answer(self, client: Connection, answer: Answer) -> None:
        self.going -= 1
        if self.job.mode == "held":
            self.answers.append(answer)
            if len(self.answers) == len(self.clients):
                self.done.set()
            return
        self._count(answer)
        asked = self.number - self.job.first_number
        more = asked < self.job.count if self.job.mode == "first" else time.perf_counter() < self.stop_at
        if more and self.faults.total() < MAX_ERRORS and not self.done.is_set():
            self._ask(client)
        elif not self.going:
            self.done.set()

    def _count(self, answer: Answer) -> None:
        fault = fault_of(answer, tokens=self.tokens, stream=self.stream, path=self.job.path)
        if fault:
            self.faults[fault] += 1
            self.example = self.example or b"".join(answer.parts)[:300].decode(errors="replace")
            return
        self.good += 1
        self.durations.append(answer.ended - answer.asked)
        self.firsts.append((answer.first or answer.ended) - answer.asked)

    async def _sample(self, samples: list[tuple[float, float, int]]) -> None:
        pids = tree(self.job.roles["server"]) if self.job.roles.get("server") else []
        while True:
            samples.append((time.perf_counter(), cpu_seconds(pids), resident_bytes(pids)))
            await asyncio.sleep(SAMPLE_SECONDS)

    def _result(self, wall: float) -> dict[str, Any]:
        for answer in self.answers:
            self._count(answer)
        return {
            "seconds": wall,
            "good": self.good,
            "faults": dict(self.faults),
            "example": self.example,
            "rate": self.good / wall,
            "tokens": self.good * self.tokens,
            "first_ms": percentiles(self.firsts),
            "duration_ms": percentiles(self.durations),
            "peak": self.peak,
        }

    def _held(self, began: float, samples: Sequence[tuple[float, float, int]]) -> dict[str, Any]:
        """Return the figures of `held` alone: gaps, and the server's CPU and memory while all answers were active."""
        if self.job.mode != "held" or not self.answers:
            return {}
        first_end = min(answer.ended for answer in self.answers)
        level = [one for one in samples if began + self.job.ramp <= one[0] <= first_end]
        known = len(level) > 1 and level[-1][2] > 0  # `direct` has no server of its own
        share = (level[-1][1] - level[0][1]) / (level[-1][0] - level[0][0]) if known else None
        gaps = [gap for answer in self.answers for gap in answer.gaps]
        return {
            "gap_ms": percentiles(gaps),
            "frames": sum(len(answer.gaps) + 1 for answer in self.answers),
            "cpu_share": share,
            "memory_before": samples[0][2] if samples else None,
            "memory_peak": max((one[2] for one in samples), default=None),
        }


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return p50, p95, p99, max and mean of seconds, in milliseconds."""
    if not values:
        return {}
    ordered = sorted(values)
    picked = {f"p{p}": ordered[min(len(ordered) - 1, len(ordered) * p // 100)] for p in (50, 95, 99)}
    return {k: v * 1000 for k, v in {**picked, "max": ordered[-1], "mean": statistics.fmean(ordered)}.items()}


async def _main(job: Job) -> dict[str, Any]:
    return await Load(job).run()


def main() -> None:
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    json.dump(uvloop.run(_main(job)), sys.stdout)


if __name__ == "__main__":
    main()
