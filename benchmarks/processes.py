"""Starts and stops the processes of a run: on loopback only, each on a free port, stopped only by process id."""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.procfs import tree

ROOT = Path(__file__).resolve().parents[1]
HOST = "127.0.0.1"
# The interpreter and the linker need these. None of the caller's other settings may reach a competitor.
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR", "VIRTUAL_ENV")


class NotStarted(RuntimeError):
    """A process did not become ready; the message contains the end of its log."""


def free_port() -> int:
    """Return a port that is free at the moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def environment(**values: str) -> dict[str, str]:
    """Return a minimal environment plus `values`."""
    kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return {**kept, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", **values}


def _die_with_parent() -> None:
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: no process outlives a killed benchmark


class Process:
    """One server under test, or the mock, on its own port."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        port: int,
        ready: str,
        env: dict[str, str],
        logs: Path,
        root: Path = ROOT,
    ):
        self.name, self.port, self.ready, self.env = name, port, ready, env
        self.log = logs / f"{name}.log"
        with self.log.open("ab") as output:
            self.popen = subprocess.Popen(
                argv,
                cwd=root,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=_die_with_parent,
            )

    @property
    def pid(self) -> int:
        return self.popen.pid

    def wait_ready(self, seconds: float) -> None:
        """Wait until `ready` answers 200."""
        self.wait_for("GET", self.ready, seconds)

    def wait_for(
        self,
        method: str,
        path: str,
        seconds: float,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Wait until this request is answered with 200; raises NotStarted."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.popen.poll() is not None:
                raise NotStarted(f"{self.name} ended with status {self.popen.returncode}:\n{self.last_words()}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self._status(method, path, body, headers) == 200:
                    return
            time.sleep(0.1)
        raise NotStarted(f"{self.name} was not ready after {seconds:.0f} s:\n{self.last_words()}")

    def _status(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str] | None) -> int:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=5)
        try:
            connection.request(method, path, body, headers or {})
            return connection.getresponse().status
        finally:
            connection.close()

    def last_words(self) -> str:
        """Return the end of the log."""
        return self.log.read_text(errors="replace")[-3000:]

    def stop(self) -> None:
        """Terminate, then kill; also kill its children, by the ids seen while it was running."""
        family = tree(self.pid)[1:] if self.popen.poll() is None else []
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(8)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait(5)
        for pid in family:
            # Ids are not reused soon, so processes with these ids are still ours.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def run(argv: Sequence[str], *, env: dict[str, str] | None = None, seconds: float = 300, root: Path = ROOT) -> str:
    """Run a command of the repository to its end and return its stdout."""
    done = subprocess.run(argv, cwd=root, env=env, capture_output=True, text=True, timeout=seconds)
    if done.returncode:
        raise NotStarted(f"{' '.join(argv[1:3])} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout
