"""Record a version: create a history on both databases, and store them with all answers of its APIs.

    git archive VERSION | tar -x -C CHECKOUT
    python -m tests.upgrade.record CHECKOUT

writes the files beside this one, for `tests/test_upgrade.py` of the versions that come after. CHECKOUT is run with this
Python, so the packages must suit it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import psycopg

from completions.tests.upstream import FaultyUpstream
from scripts.postgres import free_port, installation, postgres
from tests.upgrade.asking import Asker, Question, Record
from tests.upgrade.databases import SECRETS, load_database, store_answers, store_database, vendor_of
from tests.upgrade.history import History
from tests.upgrade.questions import questions, some_of

START_SECONDS = 60.0
UNLIMITED = (
    *("RUNS_PER_USER", "RUNS_PER_GUEST", "RUNS_PER_IP", "RUNS_PER_PROCESS", "RUN_STARTS_PER_MINUTE"),
    *("GUEST_RUN_STARTS_PER_MINUTE", "READS_PER_MINUTE", "STREAMS_PER_USER", "STREAMS_PER_IP", "STREAMS_PER_PROCESS"),
    *("AUTH_FAILURES_PER_MINUTE", "NEW_USERS_PER_MINUTE", "GUEST_CREATIONS_PER_HOUR", "WS_FRAMES_PER_SECOND"),
)


class Installation:
    """A checkout with its own database."""

    def __init__(self, checkout: Path, url: str, directory: Path) -> None:
        self.checkout = checkout
        self.log = directory / "log"
        self.environment = {
            **os.environ,
            **SECRETS,
            **{f"LIMIT_{name}": "0" for name in UNLIMITED},
            "ENV_FILE": os.devnull,
            "VAR_DIR": str(directory),
            "DATABASE_URL": url,
            "HOST": "127.0.0.1",
            "SEARCH_EMBEDDER": "hashing",
            "ECHO_DELAY": "0",
            "DRAIN_SECONDS": "1",
        }

    def manage(self, *arguments: str) -> str:
        """Run a command, and return its output."""
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(command, cwd=self.checkout, env=self.environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    @contextmanager
    def running(self, upstreams: object, end: int = signal.SIGTERM) -> Iterator[str]:
        """Run the checkout's service; yield its address."""
        port = free_port()
        environment = {**self.environment, "PORT": str(port), "UPSTREAMS": json.dumps(upstreams)}
        command = [sys.executable, "-m", "chatservice.server"]
        with self.log.open("ab") as log:
            process = subprocess.Popen(command, cwd=self.checkout, env=environment, stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}"
            until = time.monotonic() + START_SECONDS
            while not is_ready(url):
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"the service did not start:\n{self.log.read_text()}")
                time.sleep(0.1)
            yield url
        finally:
            process.send_signal(end)
            process.wait(30)


def is_ready(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/readyz", timeout=2).status_code == 200
    except httpx2.HTTPError:
        return False


def make_history(installed: Installation) -> History:
    """Fill the database; a killed process leaves one answer unfinished."""
    installed.manage("migrate", "--verbosity", "0")
    with FaultyUpstream() as upstream:
        fake = {"base_url": upstream.base_url, "api_key": "sk-made-up", "models": ["fake/*"], "strip_prefix": True}
        with installed.running({"fake": fake}, end=signal.SIGKILL) as url:
            history = History(Asker(url, {}, installed.manage))
            history.make()
            cut_off = history.begin("alice", "Count the stars.")["runId"]
        with installed.running({}) as url:
            history.asker = Asker(url, history.asker.keys, installed.manage)
            while history.graph("alice", f'{{ run(id: "{cut_off}") {{ state }} }}')["state"] == "running":
                time.sleep(0.2)
    installed.manage("index_messages")
    return history


def ask(installed: Installation, keys: dict[str, str], again: list[Question]) -> list[Record]:
    """Ask a running service the questions in `again`, and all other questions."""
    with installed.running({}) as url, closing(Asker(url, keys, installed.manage)) as asker:
        return [{**each, "answer": asker.ask(each)} for each in (*again, *questions(asker))]


def record(checkout: Path, made_in: str, asked_in: str, directory: Path) -> list[Record]:
    """Create the history in one empty database, store it, restore it into the other, and record the answers there."""
    history = make_history(Installation(checkout, made_in, directory))
    store_database(made_in, installation() / "pginstall18" / "bin" / "pg_dump")
    load_database(asked_in)
    records = ask(Installation(checkout, asked_in, directory), history.asker.keys, history.again)
    store_answers(vendor_of(made_in), history.asker.keys, some_of(records))
    return records


@contextmanager
def two_databases(vendor: str, directory: Path) -> Iterator[tuple[str, str]]:
    """Yield the addresses of two new databases."""
    if vendor == "sqlite":
        yield f"sqlite:///{directory / 'made'}", f"sqlite:///{directory / 'asked'}"
        return
    with postgres() as url:
        with psycopg.connect(url, autocommit=True) as server:
            server.execute("CREATE DATABASE asked")
        yield url, urlsplit(url)._replace(path="/asked").geturl()


def main() -> None:
    parser = argparse.ArgumentParser(description="Record a version for the upgrade test of later ones.")
    parser.add_argument("checkout", type=Path, help="where the version is")
    checkout = parser.parse_args().checkout.resolve()
    for vendor in ("sqlite", "postgresql"):
        with tempfile.TemporaryDirectory() as directory, two_databases(vendor, Path(directory)) as urls:
            records = record(checkout, *urls, Path(directory))
            print(f"{vendor}: {len(records)} questions asked")


if __name__ == "__main__":
    main()
