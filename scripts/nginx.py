"""Runs nginx for tests and benchmarks, with everything that it writes in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

READY_SECONDS = 15.0
AROUND = """
daemon off;
{user}
worker_processes 1;
pid {home}/pid;
error_log {home}/error.log;
events {{ worker_connections 4096; }}
http {{
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    {inside}
}}
"""


def find_nginx() -> str | None:
    """Return the path of the program, which is often outside of a user's PATH; None if it is not installed."""
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextlib.contextmanager
def running_nginx(program: str, home: Path, inside: str, port: int, *, user: str = "") -> Iterator[None]:
    """Run nginx with these lines within `http`, which listen on `port`, until the block ends.

    Only root can run its workers as another `user`. Raises RuntimeError with its log if it does not start.
    """
    home.chmod(0o755)  # the workers may run as another user
    as_user = "" if os.geteuid() else f"user {user or 'root'};"
    (home / "conf").write_text(AROUND.format(user=as_user, home=home, inside=inside))
    process = subprocess.Popen(
        [program, "-e", home / "error.log", "-p", home, "-c", home / "conf"], stderr=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + READY_SECONDS
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"nginx did not start:\n{(home / 'error.log').read_text()}")
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(timeout=20)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
