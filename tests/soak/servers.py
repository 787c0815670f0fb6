"""The soak's own PostgreSQL, whose tables are on a small disk, and its own Redis: both stop and start again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from scripts.postgres import START_SECONDS, UNPRIVILEGED, Prepared, free_port, is_ready, launch, prepared, stop

FIXED_PORTS = range(20_000, 32_000)
"""Ports that no client's connection gets while the server that has one is away."""
DATABASE = "chat"


@dataclass
class Database:
    """A server. `disk` has the tables, and not the log of transactions: the server stops when that has no room."""

    made: Prepared
    disk: Path | None = None
    port: int = field(default_factory=lambda: free_port(FIXED_PORTS))
    server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return self.made.url(self.port, DATABASE)

    async def start(self) -> None:
        self.server = launch(self.made.binaries, self.made.home, self.made.as_user, self.port)
        async with asyncio.timeout(START_SECONDS):
            while not is_ready(self.made.home):
                if self.server.poll() is not None:
                    raise AssertionError(f"PostgreSQL did not start:\n{self.log()}")
                await asyncio.sleep(0.02)

    async def stop(self, how: signal.Signals) -> None:
        """Stop as `pg_ctl stop` does: SIGINT is `-m fast`, SIGQUIT is `-m immediate`."""
        assert self.server is not None
        self.server.send_signal(how)
        async with asyncio.timeout(60):
            while self.server.poll() is None:
                await asyncio.sleep(0.02)

    def log(self) -> str:
        return self.made.log.read_text(errors="replace")

    def end(self) -> None:
        if self.server is not None:
            stop(self.server)

    def create(self, name: str, disk: Path | None = None) -> str:
        """Create a database, on this disk; return its URL."""
        with psycopg.connect(self.made.url(self.port), autocommit=True) as link:
            if disk is not None:
                if os.geteuid() == 0:
                    account = pwd.getpwnam(UNPRIVILEGED)
                    os.chown(disk, account.pw_uid, account.pw_gid)
                link.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
            link.execute(f"CREATE DATABASE {name} TABLESPACE {'small' if disk else 'pg_default'}")
        return self.made.url(self.port, name)


@contextlib.contextmanager
def running_database() -> Iterator[Database]:
    """Run a server; it has no database yet."""
    with prepared(durable=False) as made:
        found = Database(made)
        try:
            asyncio.run(found.start())
            yield found
        finally:
            found.end()


@dataclass
class Redis:
    """A server that keeps nothing."""

    home: Path
    port: int = field(default_factory=lambda: free_port(FIXED_PORTS))
    server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    async def start(self) -> None:
        options = {"port": str(self.port), "bind": "127.0.0.1", "dir": str(self.home), "save": "", "appendonly": "no"}
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        self.server = subprocess.Popen(
            ["redis-server", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        async with asyncio.timeout(START_SECONDS):
            while not self._listens():
                if self.server.poll() is not None:
                    raise AssertionError(f"redis-server ended with {self.server.poll()}")
                await asyncio.sleep(0.05)

    def stop(self) -> None:
        if self.server is not None:
            self.server.kill()
            self.server.wait()

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True


@contextlib.contextmanager
def running_redis() -> Iterator[Redis]:
    if shutil.which("redis-server") is None:
        raise SystemExit("make soak needs redis-server: apt-get install redis-server")
    with tempfile.TemporaryDirectory(prefix="soak-redis-") as home:
        found = Redis(Path(home))
        try:
            asyncio.run(found.start())
            yield found
        finally:
            found.stop()
