"""Dump a version: a small filled database of it, on both databases, which later versions migrate in their tests.

    git archive VERSION | tar -x -C CHECKOUT
    python -m tests.upgrade.dump CHECKOUT NAME

writes two files to the folder `dumps` beside this one; tests/test_older_versions.py finds them there. CHECKOUT is run
with this Python, so the packages must suit it. Every release gets a dump (CONTRIBUTING.md).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2

from scripts.postgres import free_port, installation
from tests.upgrade.databases import DUMPS, SECRETS, store_database, vendor_of
from tests.upgrade.record import START_SECONDS, UNLIMITED, two_databases

USERS = ("alice", "bob")
QUESTIONS = (
    "Hello, wörld 🙂",
    "Was ist ein Wal?\n\n```sql\nSELECT 1;\n```",
    "漢字と かな",
    "A white whale, and 'quotes'",
)


class Checkout:
    """A version's source with its own database, run by commands that every version has."""

    def __init__(self, folder: Path, url: str, directory: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            **SECRETS,
            **{f"LIMIT_{name}": "0" for name in UNLIMITED},
            "ENV_FILE": os.devnull,
            "VAR_DIR": str(directory),
            "DATABASE_URL": url,
            "SEARCH_EMBEDDER": "hashing",
            "ECHO_DELAY": "0",
            "DJANGO_SETTINGS_MODULE": "chatservice.settings",
        }

    def run(self, *arguments: str) -> str:
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    @contextlib.contextmanager
    def serving(self) -> Iterator[str]:
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "uvicorn", "chatservice.asgi:application", "--port", str(port)]
        process = subprocess.Popen(command, cwd=self.folder, env=self.environment)
        try:
            until = time.monotonic() + START_SECONDS
            while not answers(url):
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError("the service did not start")
                time.sleep(0.1)
            yield url
        finally:
            process.terminate()
            process.wait(60)


def answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/readyz", timeout=2).status_code == 200
    except httpx2.HTTPError:
        return False


def fill(checkout: Checkout) -> None:
    """Make users with keys, and conversations of two turns, by the API that every version has."""
    checkout.run("manage.py", "migrate", "--verbosity", "0")
    keys = {}
    for name in USERS:
        checkout.run("manage.py", "create_user", name)
        keys[name] = checkout.run("manage.py", "create_api_key", name).split()[-1]
    with checkout.serving() as url:
        for name, key in keys.items():
            for question in QUESTIONS:
                asked = [{"role": "user", "content": f"{name}: {question}"}]
                for _ in range(2):
                    headers, body = {"Authorization": f"Bearer {key}"}, {"model": "echo", "messages": asked}
                    response = httpx2.post(f"{url}/v1/chat/completions", headers=headers, json=body, timeout=30)
                    answer = response.raise_for_status().json()["choices"][0]["message"]["content"]
                    asked += [
                        {"role": "assistant", "content": answer},
                        {"role": "user", "content": f"More: {question}"},
                    ]
    if "index_messages" in checkout.run("manage.py", "help"):
        checkout.run("manage.py", "index_messages")


def main() -> None:
    parser = argparse.ArgumentParser(description="Dump a version for the tests of later ones.")
    parser.add_argument("checkout", type=Path, help="where the version is")
    parser.add_argument("name", help="the version, as in 2026.11.0")
    given = parser.parse_args()
    pg_dump = installation() / "pginstall18" / "bin" / "pg_dump"
    for vendor in ("sqlite", "postgresql"):
        with tempfile.TemporaryDirectory() as directory, two_databases(vendor, Path(directory)) as (url, _):
            fill(Checkout(given.checkout.resolve(), url, Path(directory)))
            path = DUMPS / f"{given.name}.{'db' if vendor == 'sqlite' else 'sql'}.xz"
            store_database(url, pg_dump, path)
            print(f"{path.name}: {path.stat().st_size} bytes, {vendor_of(url)}")


if __name__ == "__main__":
    main()
