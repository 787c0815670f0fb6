"""Owns every process of a run (mock, PostgreSQL, competitors) and loads one competitor at a time."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from benchmarks import competitors, wire
from benchmarks.competitors import Running
from benchmarks.processes import HOST, ROOT, Process, environment
from scripts import procfs

READY_SECONDS = 60.0
SETTLE_SECONDS = 0.4  # seconds for the previous job's checkpoints and buffers to finish
NUMBERS_PER_JOB = 1_000_000  # no prompt is sent twice in one run


class Runner:
    """A context manager: when it exits, everything it started is stopped and removed."""

    def __init__(self, *, litellm: Path | None = None, extra: dict[str, str] | None = None) -> None:
        self.litellm = litellm
        self.extra = extra or {}
        self.stack = contextlib.ExitStack()
        self.jobs = itertools.count(1)
        self.database: tuple[str, int] | None = None
        self.running: list[Process] = []

    def __enter__(self) -> Runner:
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _exit)  # so that __exit__ runs on these signals
        self.scratch = Path(tempfile.mkdtemp(prefix="chat-bench-"))
        self.stack.callback(shutil.rmtree, self.scratch, ignore_errors=True)
        self.logs = self.scratch / "logs"
        self.logs.mkdir()
        try:
            self.upstream = self._keep(competitors.start_upstream(self.logs))
            self.services = competitors.Services(
                upstream=self.upstream.port, scratch=self.scratch, extra=self.extra, postgres=self._postgres
            )
        except BaseException:
            self.stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stack.close()

    def _keep(self, process: Process) -> Process:
        self.stack.callback(process.stop)
        self.running.append(process)
        process.wait_ready(READY_SECONDS)
        return process

    def _postgres(self) -> tuple[str, int]:
        """Start PostgreSQL on first use; return its URL and process id. It is durable, as in production."""
        if self.database is None:
            sys.path.insert(0, str(ROOT))
            from scripts.postgres import postgres

            known = set(procfs.tree(os.getpid()))
            url = self.stack.enter_context(postgres(durable=True))
            # The server is our child and its workers are its children, so the first new process is the server.
            self.database = (url, next(pid for pid in procfs.tree(os.getpid()) if pid not in known))
        return self.database

    def start(self, name: str, *, env: Mapping[str, str] | None = None, root: Path = ROOT) -> Running:
        """Start a competitor and return it once it answers; `env` and `root` are for services: see `Services.start`."""
        if name == "direct":
            return Running("direct", self.upstream.port, "unused")
        if name == "relay":
            python = competitors.peers_python() or Path(sys.executable)
            running = competitors.start_relay(python, self.upstream.port, self.logs)
        elif name == "litellm":
            assert self.litellm is not None
            running = competitors.start_litellm(self.litellm, self.upstream.port, self.scratch, self.logs)
        else:
            running = self.services.start(name, self.logs, env=env, root=root)
        return self._warm(running)

    def start_another(self, first: Running) -> Running:
        """Start one more process of a service that runs, on its database."""
        return self._warm(competitors.start_another(first, self.logs))

    def _warm(self, running: Running) -> Running:
        assert running.process is not None
        self._keep(running.process)
        if running.name.startswith("service-"):
            competitors.wait_warm(running)
        return running

    def measure(
        self,
        target: Running,
        mode: str,
        model: str,
        *,
        clients: int,
        seconds: float = 0.0,
        count: int = 0,
        ramp: float = 0.0,
        timeout: float = 60.0,
    ) -> dict[str, Any]:
        """Run one job against `target` and return the load generator's result."""
        time.sleep(SETTLE_SECONDS)
        roles = {"server": target.pid, "database": target.database, "upstream": self.upstream.pid}
        # Idle competitors should use no CPU. If they do, the report shows it separately from other load.
        waiting = [one for one in self.running if one.pid not in roles.values() and one.popen.poll() is None]
        roles |= {f"idle {one.name}": one.pid for one in waiting}
        job = {
            "mode": mode,
            "host": HOST,
            "port": target.port,
            "path": wire.RESPONSES if mode == "responses" else wire.CHAT,
            "key": target.key,
            "model": model,
            "clients": clients,
            "first_number": next(self.jobs) * NUMBERS_PER_JOB,
            "seconds": seconds,
            "count": count,
            "ramp": ramp,
            "timeout": timeout,
            "roles": roles,
        }
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.load"],
            cwd=ROOT,
            env=environment(),
            input=json.dumps(job).encode(),
            capture_output=True,
            timeout=seconds + ramp + timeout + 60,
        )
        if done.returncode:
            raise RuntimeError(f"load generator failed on {target.name}:\n{done.stderr.decode()[-2000:]}")
        result: dict[str, Any] = json.loads(done.stdout)
        result["faulty"] = sum(result["faults"].values())
        return result

    def memory(self, target: Running) -> dict[str, int]:
        """Return the current and the peak resident memory of the process and its children, in bytes."""
        pids = procfs.tree(target.pid) if target.pid else []
        return {"now": procfs.resident_bytes(pids), "peak": procfs.peak_bytes(pids)}

    def upstream_late_ms(self) -> float:
        """Return the mock's worst pacing delay since the last call."""
        with urllib.request.urlopen(f"http://{HOST}:{self.upstream.port}/bench/stats", timeout=10) as answer:
            return float(json.load(answer)["late_ms"])

    def warm_up(self, targets: Sequence[Running], *, seconds: float) -> None:
        """Run every code path and fill every connection pool once; none of it is reported."""
        for target in targets:
            self.measure(target, "streams", "flood-200", clients=8, seconds=seconds)
            self.measure(target, "plain", "flood-200", clients=8, seconds=seconds)


def _exit(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
