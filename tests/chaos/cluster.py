"""Several service processes on one database, the users who call them, and the upstream that they share."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from django.db import connection

from accounts.models import User
from accounts.services import issue_api_key, register_user
from chatservice.testing import CANARY, ROOT, Service, fake_upstream, free_port
from completions.models import Run
from completions.tests.invariants import invariants
from completions.tests.upstream import FaultyUpstream
from foundation.database import in_database_thread
from tests.chaos import wire
from tests.chaos.verdict import Verdict

T = TypeVar("T")
START_SECONDS = 60.0
STOP_SECONDS = 60.0
DRAIN = 10
LOOK_SECONDS = 300.0  # seconds; for thousands of runs on a busy machine
BELOW_CLIENTS = range(20_000, 32_000)
"""Ports that no client's connection gets while the process that has one is restarted."""
SPARE_FILES = 48
"""This many more files and threads than at the start are no leak: pools fill up, SQLite has three files per thread."""


@dataclass(frozen=True, slots=True)
class ApiUser:
    """An account and its key; each scenario uses its own HTTP client."""

    user: User
    secret: str


@dataclass
class Process:
    """One service process, as in production; it keeps its port when restarted."""

    env: dict[str, str]
    port: int = field(default_factory=lambda: free_port(BELOW_CLIENTS))
    popen: subprocess.Popen[bytes] | None = None
    ready: bool = False
    log: Path = field(default_factory=lambda: Path(tempfile.mkstemp(prefix="chaos-", suffix=".log")[1]))
    deaths: dict[int, float] = field(default_factory=dict)
    """Process id to the wall-clock time it was killed at."""
    _zombies: list[subprocess.Popen[bytes]] = field(default_factory=list)

    async def start(self) -> None:
        self.launch()
        await until(self.answers, timeout=START_SECONDS, what=f"a service on port {self.port}")
        self.ready = True

    def launch(self) -> None:
        environment = Service(port=self.port, env=self.env).environment()
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "chatservice.server"]
            self.popen = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)

    async def answers(self) -> bool:
        assert self.popen is not None
        if self.popen.poll() is not None:
            raise AssertionError(f"the service ended at once:\n{self.log.read_text()[-5000:]}")
        try:
            await wire.call(self.port, "GET", "/readyz", patience=5.0)
            return True
        except (OSError, wire.Cut, wire.Refused):
            return False

    @property
    def pid(self) -> int:
        assert self.popen is not None
        return self.popen.pid

    def kill(self, *, stay: bool = False) -> None:
        """kill -9. With `stay` it stays in the process table as a zombie, so that only its lease shows its death."""
        assert self.popen is not None
        self.ready = False
        self.deaths[self.popen.pid] = time.time()
        self.popen.kill()
        if stay:
            self._zombies.append(self.popen)
        else:
            self.popen.wait()
        self.popen = None

    def signal(self, number: int) -> None:
        assert self.popen is not None
        self.popen.send_signal(number)

    async def stop(self) -> int:
        """SIGTERM; return the exit code, or -9 if it had to be killed."""
        popen, self.popen, self.ready = self.popen, None, False
        for zombie in self._zombies:
            zombie.wait()
        if popen is None:
            return 0
        popen.send_signal(signal.SIGCONT)
        popen.send_signal(signal.SIGTERM)
        until_ = time.monotonic() + STOP_SECONDS
        while popen.poll() is None and time.monotonic() < until_:
            await asyncio.sleep(0.02)
        if popen.poll() is None:
            popen.kill()
        return popen.wait()

    def resident(self) -> int:
        """Memory in bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * 4096

    def worked(self) -> float:
        """CPU time so far in seconds."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def held(self) -> int:
        """Number of open files and of threads."""
        proc = Path(f"/proc/{self.pid}")
        return len(list((proc / "fd").iterdir())) + len(list((proc / "task").iterdir()))


@dataclass
class Cluster:
    """The processes of a running cluster, with its users and its upstream."""

    rng: random.Random
    processes: list[Process]
    api_users: list[ApiUser]
    upstream: FaultyUpstream
    baseline: dict[int, int] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    @property
    def alive(self) -> list[Process]:
        return [each for each in self.processes if each.ready]

    def another(self, rng: random.Random, than: int = 0) -> Process:
        """Return a running process, if possible not the one on port `than`."""
        alive = self.alive or self.processes
        return rng.choice([each for each in alive if each.port != than] or alive)

    def asked(self, prompt: str) -> list[Any]:
        """Return the upstream's records of the requests whose last message is `prompt`."""
        return [each for each in self.upstream.posts if each.at >= self.began and _prompt(each.body) == prompt]

    async def settle(self, verdict: Verdict) -> None:
        """Wait for the last run, then check everything that must always be true."""
        users = [api_user.user for api_user in self.api_users]
        try:
            await until(lambda: database(_nothing_runs, users), timeout=30, what="the end of the last run")
        except AssertionError as late:
            verdict.broken(str(late))
        for wrong in await database(invariants, users):
            verdict.broken(wrong)
        for process in self.processes:
            before = self.baseline.get(process.popen.pid if process.popen else 0)
            if process.ready and before is not None:
                held = await _held_at_last(process, before + SPARE_FILES)
                verdict.expect(held <= before + SPARE_FILES, f"{held} files and threads, {before} at the start")
            text = process.log.read_text(errors="replace")
            verdict.expect("Traceback" not in text, f"a traceback in {process.log}: {text[:3000]}")
            verdict.expect(not CANARY.search(text), f"content or a key in {process.log}")


async def _held_at_last(process: Process, most: int) -> int:
    """Return the number of open files and threads once it is at most `most`, or after a timeout."""
    with contextlib.suppress(AssertionError):
        await until(lambda: process.held() <= most, timeout=15, what="few files")
    return process.held()


def _prompt(body: Any) -> str:
    messages = body.get("messages") if isinstance(body, dict) else None
    return str(messages[-1].get("content")) if messages else ""


def _nothing_runs(users: list[User]) -> bool:
    return not Run.objects.running().filter(user__in=users).exists()


_kept: contextvars.ContextVar[list[Process] | None] = contextvars.ContextVar("kept processes", default=None)


@contextlib.asynccontextmanager
async def kept_processes() -> AsyncIterator[None]:
    """Let the clusters within, one after the other, use the same processes where they want the same settings."""
    kept: list[Process] = []
    token = _kept.set(kept)
    try:
        yield
    finally:
        _kept.reset(token)
        await _stop(kept)


def _kept_or_new(env: dict[str, str]) -> Process:
    kept = _kept.get() or []
    found = next((each for each in kept if each.env == env), None)
    if found is None:
        return Process(env)
    kept.remove(found)
    return found


async def _stop(processes: list[Process]) -> None:
    await asyncio.gather(*(each.stop() for each in processes), return_exceptions=True)
    await asyncio.sleep(0.2)  # the event loop closes dropped connections in its next turns
    for each in processes:
        if "Traceback" not in each.log.read_text(errors="replace"):
            each.log.unlink()


@contextlib.asynccontextmanager
async def running_cluster(
    seed: str, *, processes: int = 3, api_users: int = 4, own_env: Sequence[Mapping[str, str]] = (), **env: str
) -> AsyncIterator[Cluster]:
    """Start a cluster; its random choices depend only on `seed`.

    `own_env` has one entry of settings per process, and so decides their number.
    """
    rng = random.Random(seed)
    upstream = fake_upstream()
    # One small connection pool per process, as in deployments.
    given = {"DATABASE_POOL_MAX": "8", "LOG_LEVEL": "WARNING", "DRAIN_SECONDS": str(DRAIN), "REDIS_URL": "", **env}
    members = [_kept_or_new({**given, **own}) for own in own_env or [{}] * processes]
    stopping = list(members)
    try:
        made = [await database(make_api_user, f"chaos{number}") for number in range(api_users)]
        await asyncio.gather(*(each.start() for each in members if not each.ready))
        found = Cluster(rng, members, made, upstream)
        found.baseline = {each.pid: each.held() for each in members}
        yield found
        if (kept := _kept.get()) is not None:
            stopping = [each for each in members if not each.ready]
            kept += [each for each in members if each.ready]
    finally:
        await _stop(stopping)


def make_api_user(name: str) -> ApiUser:
    """Register a user whose name begins with `name`, with a key."""
    user = register_user(username=f"{name}-{uuid.uuid4().hex[:12]}")
    return ApiUser(user, issue_api_key(user=user)[1])


async def database(function: Callable[..., T], *arguments: Any) -> T:
    """Call `function`, which uses the database, in a thread."""
    return await in_database_thread(function, *arguments, seconds=LOOK_SECONDS)


async def until(condition: Callable[[], Any], *, timeout: float, what: str) -> Any:
    """Return the first true value of `condition`, which may be a coroutine function."""
    limit = time.monotonic() + timeout
    while True:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        if time.monotonic() > limit:
            raise AssertionError(f"{what} did not come within {timeout} s")
        await asyncio.sleep(0.03)


def is_postgres() -> bool:
    return connection.vendor == "postgresql"
