"""Further database servers for some tests: Debian's PostgreSQL, which has TLS, and PgBouncer."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from chatservice.testing import free_port, wait_until
from completions.tests.certificates import self_signed
from conftest import CI
from scripts.postgres import FAST, OPTIONS, UNPRIVILEGED, initialise, start, stop

PASSWORD = "of-a-test"


def needs_program(name: str, *patterns: str) -> Path:
    """Return the first program that matches one of `patterns`; skip if there is none, or fail if CI=true."""
    found = [path for pattern in patterns for path in sorted(Path("/").glob(pattern.lstrip("/")))]
    if found:
        return found[-1]
    if CI:
        pytest.fail(f"needs {name}, and CI=true promises it", pytrace=False)
    pytest.skip(f"needs {name}")


def server_account() -> dict[str, Any]:
    """Return the command prefix for a program that refuses to run as root; empty if we are not root."""
    if os.geteuid():
        return {}
    account = pwd.getpwnam(UNPRIVILEGED)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def owned_directory(prefix: str, account: dict[str, Any]) -> Path:
    """Return a new directory owned by the account of `server_account`."""
    home = Path(tempfile.mkdtemp(prefix=prefix))
    if account:
        os.chown(home, account["user"], account["group"])
    return home


@contextmanager
def postgres_with_tls() -> Iterator[tuple[str, str]]:
    """Start Debian's PostgreSQL with TLS; yield its URL, and the path of the CA certificate to trust."""
    binaries = needs_program("Debian's postgresql", "/usr/lib/postgresql/*/bin/postgres").parent
    account = server_account()
    home = owned_directory("chat-tls-postgres-", account)
    try:
        authority, _ = self_signed(home)
        key = home / "key.pem"
        key.chmod(0o600)
        if account:
            os.chown(key, account["user"], account["group"])
        tls = {"ssl": "on", "ssl_cert_file": authority, "ssl_key_file": str(key)}
        options = {**OPTIONS, **FAST, **tls, "shared_buffers": "16MB"}
        # Debian's initdb is too old for `-c`, so the settings are appended to the file.
        initialise(binaries, home, PASSWORD, {}, account)
        with (home / "data" / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in options.items())
        server, port = start(binaries, home, account)
        try:
            yield f"postgresql://postgres:{PASSWORD}@127.0.0.1:{port}/postgres", authority
        finally:
            stop(server)
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def pgbouncer(url: str, *, pool_size: int = 4, **options: str) -> Iterator[str]:
    """Start PgBouncer in transaction mode before the server at `url`, with few connections to it; yield its URL."""
    program = needs_program("pgbouncer", "/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "/usr/local/bin/pgbouncer")
    server = urlsplit(url)
    account = server_account()
    home = owned_directory("chat-pgbouncer-", account)
    port = free_port()
    settings = {
        "listen_addr": "127.0.0.1",
        "listen_port": str(port),
        "unix_socket_dir": "",
        "pool_mode": "transaction",
        "default_pool_size": str(pool_size),
        "auth_type": "plain",
        "auth_file": str(home / "users"),
        **options,
    }
    (home / "users").write_text(f'"{server.username}" "{server.password}"\n')
    lines = ["[databases]", f"* = host={server.hostname} port={server.port}", "[pgbouncer]"]
    (home / "pgbouncer.ini").write_text("\n".join([*lines, *(f"{name} = {value}" for name, value in settings.items())]))
    with (home / "log").open("wb") as log:
        process = subprocess.Popen([program, str(home / "pgbouncer.ini")], stdout=log, stderr=log, **account)
    try:
        wait_until(lambda: process.poll() is not None or _listens(port), what="PgBouncer")
        assert process.poll() is None, (home / "log").read_text()
        yield server._replace(netloc=f"{server.username}:{server.password}@127.0.0.1:{port}").geturl()
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(home, ignore_errors=True)


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
