"""The real service in a separate process, and API users who call it, for tests.

Every app's tests may import this; other code may not.
"""

from __future__ import annotations

import atexit
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import httpx2
import pytest
from django.conf import settings
from django.db import connection
from django.test import TransactionTestCase

from accounts import throttling
from accounts.connections import Connection
from accounts.models import ApiKey, RateWindow, User
from accounts.services import issue_api_key, register_user
from chatservice.dialects import DIALECTS
from chatservice.dialects.base import renderer_of
from chatservice.dialects.problems import Problem
from completions.tests.upstream import FaultyUpstream
from foundation.logs.context import LogContext, background_context

ROOT = Path(settings.BASE_DIR)
PORT_ATTEMPTS = 3
T = TypeVar("T")
CANARY = re.compile(r"canary|\bcb_[A-Za-z0-9]{8}_", re.IGNORECASE)
"""What tests mark content and keys with that no log line may hold."""

UNLIMITED = {
    "LIMIT_RUNS_PER_USER": "0",
    "LIMIT_RUNS_PER_GUEST": "0",
    "LIMIT_RUNS_PER_IP": "0",
    "LIMIT_RUNS_PER_PROCESS": "0",
    "LIMIT_RUN_STARTS_PER_MINUTE": "0",
    "LIMIT_GUEST_RUN_STARTS_PER_MINUTE": "0",
    "LIMIT_READS_PER_MINUTE": "0",
    "LIMIT_ROWS_PER_MINUTE": "0",
    "LIMIT_STREAMS_PER_USER": "0",
    "LIMIT_STREAMS_PER_IP": "0",
    "LIMIT_STREAMS_PER_PROCESS": "0",
    "LIMIT_SOCKETS_PER_USER": "0",
    "LIMIT_SOCKETS_PER_IP": "0",
    "LIMIT_SOCKETS_PER_PROCESS": "0",
    "LIMIT_AUTH_FAILURES_PER_MINUTE": "0",
    "LIMIT_PASSWORD_FAILURES": "0",
    "LIMIT_NEW_USERS_PER_MINUTE": "0",
    "LIMIT_GUEST_CREATIONS_PER_HOUR": "0",
    "LIMIT_WS_FRAMES_PER_SECOND": "0",
}


def needs_dialect(*names: str) -> None:
    """Skip the calling test or module if one of these dialects was deleted."""
    for name in names:
        if name not in DIALECTS:
            pytest.skip(f"asks by {name}, which is not there", allow_module_level=True)


def tried_on(vendor: str) -> pytest.MarkDecorator:
    """Run a test case on one database only, because its result is the same on all. `vendor` is Django's name."""
    return pytest.mark.skipif(connection.vendor != vendor, reason=f"depends on no database: tried on {vendor}")


tried_once = pytest.mark.tried_once
"""Run a test case on one database only, whichever: on SQLite, or where `make test` has time for it first."""


# Nothing listens on this port. Another test may take one that `free_port` returned.
CLOSED_PORT = 1


def free_port(among: Sequence[int] = ()) -> int:
    """Return a port that nothing listens on: one that the system chooses, or any of `among`."""
    while True:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", random.SystemRandom().choice(among) if among else 0))
            return probe.getsockname()[1]


def test_database_url() -> str:
    """Return the address of this test run's database, so that another process can use it, too."""
    config = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{config['NAME']}"
    user = quote(config["USER"] or "postgres", safe="")
    password = f":{quote(config['PASSWORD'], safe='')}" if config["PASSWORD"] else ""
    host, port = config["HOST"] or "127.0.0.1", config["PORT"] or 5432
    host = quote(host, safe="") if host.startswith("/") else host
    options = urlencode({name: value for name, value in config["OPTIONS"].items() if isinstance(value, str)})
    return f"postgres://{user}{password}@{host}:{port}/{config['NAME']}?{options}"


def wait_until(condition: Callable[[], T], *, timeout: float = 15.0, what: str = "the condition") -> T:
    """Return the first true value of `condition`; fail if there is none within `timeout` seconds."""
    until = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > until:
            raise AssertionError(f"{what} did not come true within {timeout} s")
        time.sleep(0.02)


def wait_for_minute(seconds: int = 10) -> None:
    """Wait until the current minute of the limits (by the database's clock) has some time left."""
    wait_until(lambda: throttling.seconds_left() >= seconds, timeout=seconds + 10, what="a minute with time left")


def pause(pid: int) -> None:
    """Stop the process, and wait until all its threads have stopped: the signal returns earlier."""
    os.kill(pid, signal.SIGSTOP)

    def rests() -> bool:
        try:
            threads = [each.read_text() for each in Path(f"/proc/{pid}/task").glob("*/stat")]
        except (FileNotFoundError, ProcessLookupError):  # a thread ended meanwhile
            return False
        return all(each.rpartition(") ")[2].startswith(("T", "Z")) for each in threads)

    wait_until(rests, what="the pause")


class ServiceEnded(AssertionError):
    """The service never became ready; the message contains its log."""


@dataclass(slots=True)
class Service:
    """The service as an operator runs it, on a free port with the test run's database.

    The fault-injecting upstream answers for the model `fake/NAME`, with its behaviour NAME; any
    other model is answered by `echo`, without a delay. Only one that is not
    `unlimited` has the default limits.
    """

    env: Mapping[str, str] = field(default_factory=dict)
    unlimited: bool = True
    port: int = field(default_factory=free_port)
    process: subprocess.Popen | None = None
    log_path: Path = field(default_factory=lambda: Path(tempfile.mkstemp(suffix=".log")[1]))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def websocket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws/chat"

    def environment(self) -> dict[str, str]:
        """Return the process's environment: the test run's database and upstream, and no limits."""
        return {
            **os.environ,
            **(UNLIMITED if self.unlimited else {}),
            "ENV_FILE": os.devnull,
            "DATABASE_URL": test_database_url(),
            "SECRET_KEY": settings.SECRET_KEY,
            "KEY_PEPPER": settings.KEY_PEPPER,
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "ECHO_DELAY": "0",
            # On exit, do not wait for answers that a test left running.
            "DRAIN_SECONDS": "0.2",
            "SEARCH_EMBEDDER": "hashing",  # the real model would cost every test's service seconds of CPU
            "OPENAI_API_KEY": "",
            "OPENAI_BASE_URL": "",
            "UPSTREAMS": fake_upstreams(),
            "SHARING": "true",
            "WEBHOOK_NETWORKS": "127.0.0.1/32",  # receivers of tests
            # Every line that the service can write: see `_end`.
            "REQUEST_LOG": "true",
            # A commit has to survive kill -9, but not a power cut; this saves a disk sync per commit.
            "SQLITE_SYNCHRONOUS": "NORMAL",
            **self.env,
        }

    def start(self) -> Service:
        environment = self.environment()
        for attempt in range(PORT_ATTEMPTS):
            with self.log_path.open("ab") as log:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "chatservice.server"], cwd=ROOT, env=environment, stdout=log, stderr=log
                )
            try:
                wait_until(self._is_ready, timeout=60, what=f"a service on port {self.port}")
                return self
            except ServiceEnded:
                # Another process may take the port after it was chosen and before the service starts.
                if "address already in use" not in self.log().lower() or attempt == PORT_ATTEMPTS - 1:
                    raise
                self.port = free_port()
                environment["PORT"] = str(self.port)
        raise AssertionError("never reached")

    def _is_ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise ServiceEnded(f"the service ended at once:\n{self.log()}")
        try:
            # Most of the time nothing listens yet, and a client costs more CPU than finding that out.
            socket.create_connection(("127.0.0.1", self.port), timeout=2).close()
            return httpx2.get(f"{self.url}/readyz", timeout=2).status_code == 200
        except (httpx2.HTTPError, OSError):
            return False

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def kill(self) -> None:
        """Kill it without warning: kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Ask it to stop, and wait; return the exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: int) -> int:
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            code = self.process.wait(timeout=45)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self.process = None
        # Content in a test's requests, and the keys that tests make, are recognised. The first start prints one.
        told = [line for line in self.log().splitlines() if CANARY.search(line) and not line.startswith("API key: ")]
        assert not told, f"a log line holds content or a key: {told[:3]}"
        return code


class OwnConnection(Connection):
    """The connection of callers that a test invents: it has no socket, and claims to come from our own user."""

    def __init__(self) -> None:
        """There is no socket to inspect."""

    def is_from_own_user(self) -> bool:
        return True


_upstream: FaultyUpstream | None = None
_shared: dict[str, Service] = {}


def fake_upstream() -> FaultyUpstream:
    """Return the fault-injecting upstream of this test run; the first call starts it."""
    global _upstream
    if _upstream is None:
        _upstream = FaultyUpstream()
        _upstream.__enter__()
        atexit.register(_upstream.__exit__, None, None, None)
    return _upstream


def fake_upstreams() -> str:
    return json.dumps(
        {
            "fake": {
                "base_url": fake_upstream().base_url,
                "api_key": "sk-upstream-secret-canary",
                "models": ["fake/*"],
                "strip_prefix": True,
            }
        }
    )


def shared_service() -> Service:
    """Return the service that most tests share; the first call starts it."""
    return _shared_service("first")


def second_service() -> Service:
    """Return another process with the same settings, for tests that need two; the first call starts it."""
    return _shared_service("second")


def _shared_service(name: str) -> Service:
    if name not in _shared:
        _shared[name] = Service().start()
        atexit.register(stop_shared_service)
    return _shared[name]


def stop_shared_service() -> None:
    """Stop the shared services that are running; the next test that needs one starts a new one."""
    while _shared:
        _shared.popitem()[1].stop()


@contextmanager
def running_service(**env: str) -> Iterator[Service]:
    """Run another service until the block ends; `env` holds its settings.

    For all tests of a class: `cls.enterClassContext(running_service(...))`.
    """
    if any(name.startswith("LIMIT_") for name in env):
        RateWindow.objects.all().delete()  # guests share one address, so requests of earlier tests would count as well
    service = Service(env=env)
    try:
        yield service.start()
    finally:
        service.stop()


@dataclass(slots=True)
class ApiUser:
    """An account, its key, and an HTTP client that sends the key."""

    user: User
    key: ApiKey
    secret: str
    http: httpx2.Client

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secret}"}


def make_api_user(name: str, *, url: str, staff: bool = False) -> ApiUser:
    """Register a user whose name begins with `name`, and issue a key."""
    user = register_user(username=f"{name}-{uuid.uuid4().hex[:12]}", superuser=staff)
    key, secret = issue_api_key(user=user)
    client = httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {secret}"}, timeout=30, trust_env=False)
    return ApiUser(user=user, key=key, secret=secret, http=client)


class KeptTablesTestCase(TransactionTestCase):
    """No rollback, no emptied tables: other processes use them. Every test creates its own users."""

    @classmethod
    def _fixture_setup(cls) -> None:
        """Keep the tables."""

    def _fixture_teardown(self) -> None:
        """Keep the tables here, too."""


class ServiceTestCase(KeptTablesTestCase):
    """Tests with the running service. Alice owns, Bob must not see, Carol is staff; `guest` has no key."""

    def setUp(self) -> None:
        super().setUp()
        self.service = shared_service()
        self.upstream = fake_upstream()
        self._api_users: dict[str, ApiUser] = {}
        self.guest = httpx2.Client(base_url=self.service.url, timeout=30, trust_env=False)
        self.addCleanup(self.guest.close)

    def api_user(self, name: str, *, staff: bool = False) -> ApiUser:
        if name not in self._api_users:
            api_user = make_api_user(name, url=self.service.url, staff=staff)
            self._api_users[name] = api_user
            self.addCleanup(api_user.http.close)
        return self._api_users[name]

    @property
    def alice(self) -> ApiUser:
        return self.api_user("alice")

    @property
    def bob(self) -> ApiUser:
        return self.api_user("bob")

    @property
    def carol(self) -> ApiUser:
        return self.api_user("carol", staff=True)


def rendered(dialect: str, problem: Problem, request_id: str) -> Any:
    """Return the body of the error that a dialect answers to the request with this id."""
    return background_context(LogContext(request_id)).run(renderer_of(dialect), problem)


def without_request_id(text: str) -> str:
    """Return the text of a response without the id of its request, which is another one each time."""
    return re.sub(r"req_[0-9a-f]{32}", "req_", text)


def sse_data(text: str) -> list[str]:
    """Return the data of each event in a body of server-sent events."""
    events = []
    for block in text.replace("\r\n", "\n").split("\n\n"):
        lines = [line[5:].removeprefix(" ") for line in block.split("\n") if line.startswith("data:")]
        if lines:
            events.append("\n".join(lines))
    return events


def sse_events(text: str) -> list[dict[str, Any]]:
    """Return each event of a body as its fields (`id`, `event`, `data`)."""
    events = []
    for block in text.replace("\r\n", "\n").split("\n\n"):
        fields: dict[str, Any] = {}
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            if name:
                value = value.removeprefix(" ")
                fields[name] = f"{fields[name]}\n{value}" if name == "data" and name in fields else value
        if "data" in fields:
            events.append(fields)
    return events
