"""What every test can rely on: a repeatable seed, and a Redis if one answers."""

from __future__ import annotations

import functools
import logging
import os
import random
import socket
import subprocess
import sys
import unittest
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from pathlib import Path
from unittest import mock
from urllib.parse import urlsplit

import httpx2
import pytest

DEFAULT_REDIS_URL = "redis://127.0.0.1:6379"
LOG_TAIL = 4_000
# If the shell sets this, each process that a test starts has to compile the project again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# In CI every external service must be there: a missing one is a failure, not a skip.
CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}
# `make test` runs the suite on both databases at once, and names a directory that is the same for both runs.
SHARED = os.environ.pop("SHARED_TESTS", "")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=None, help="repeat a run's random choices (printed at its start)")
    parser.addoption("--fast", action="store_true", help="skip each test that starts a process of its own")


def pytest_configure(config: pytest.Config) -> None:
    if config.option.seed is None:
        config.option.seed = random.SystemRandom().randrange(2**32)
    if getattr(config.option, "hypothesis_seed", None) is None:
        config.option.hypothesis_seed = str(config.option.seed)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Arrange that what depends on no database is tried once: on SQLite, or by whichever run has time for it first."""
    from django.db import connection

    other = connection.vendor != "sqlite"
    for item in items:
        if uses_no_database(getattr(item, "cls", None)):
            item.add_marker("tried_once")
    once = [item for item in items if item.get_closest_marker("tried_once")]
    rest = [item for item in items if not item.get_closest_marker("tried_once")]
    if SHARED:
        # From both ends, so that the two runs meet. Tests that expect empty tables come before all that leave rows.
        groups: dict[str, list[pytest.Item]] = {}
        for item in once:
            groups.setdefault(group_of(item), []).append(item)
        ordered = [item for group in [*groups.values()][:: -1 if other else 1] for item in group]
        first = [item for item in ordered if not leaves_rows(item)]
        last = [item for item in ordered if leaves_rows(item)]
        items[:] = [*first, *rest, *last]
    elif other and config.args_source == pytest.Config.ArgsSource.TESTPATHS:
        config.hook.pytest_deselected(items=once)
        items[:] = rest


def leaves_rows(item: pytest.Item) -> bool:
    """Tell whether a test leaves what it stored in the tables, where other processes can see it."""
    from django.test import TestCase, TransactionTestCase

    case = getattr(item, "cls", None)
    return case is not None and issubclass(case, TransactionTestCase) and not issubclass(case, TestCase)


def group_of(item: pytest.Item) -> str:
    """Return the name of the test's class: its tests run together, because they share what the class starts."""
    return (item.getparent(pytest.Class) or item).nodeid


@functools.cache
def is_ours(group: str) -> bool:
    """Tell whether this run is the first that comes to a group of shared tests."""
    try:
        Path(SHARED, group.replace("/", "-")).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a shared test that the run on the other database has taken."""
    if SHARED and item.get_closest_marker("tried_once") and not is_ours(group_of(item)):
        pytest.skip("depends on no database: the run on the other one has taken it")


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """With --fast, skip a test when it is about to start a process, so that no list of such tests is needed."""
    with mock.patch.object(subprocess.Popen, "__init__", _skip) if session.config.option.fast else nullcontext():
        return (yield)


def _skip(*args: object, **kwargs: object) -> None:
    pytest.skip("starts a process")


def uses_no_database(case: type | None) -> bool:
    """Tell whether a test case uses no database: SimpleTestCase forbids it, and unittest.TestCase knows of none."""
    from django.test import TransactionTestCase

    if case is None or not issubclass(case, unittest.TestCase):
        return False
    return not issubclass(case, TransactionTestCase) and getattr(case, "databases", None) in (None, set(), frozenset())


def pytest_report_header(config: pytest.Config) -> list[str]:
    from django.db import connection

    return [f"seed: {config.option.seed} (repeat with --seed)", f"database: {connection.vendor}"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config) -> None:
    if exitstatus:
        from django.db import connection

        seed = config.option.seed
        terminalreporter.write_line(f"on {connection.vendor}; repeat this run's random choices with --seed {seed}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the logs of the service and of the database server below the failure of a test that used them."""
    report = yield
    service = getattr(getattr(item, "instance", None), "service", None)
    if report.failed and service is not None and not callable(service):  # some tests have a method of that name
        report.sections.append((f"end of the service's log ({service.url})", service.log()[-LOG_TAIL:]))
    if report.failed and (log := os.environ.get("POSTGRES_LOG")):
        report.sections.append(("end of PostgreSQL's log", Path(log).read_text(errors="replace")[-LOG_TAIL:]))
    return report


@pytest.fixture(scope="session", autouse=True)
def trusted_certificates() -> Iterator[None]:
    """Read the system's certificates once per run; otherwise each HTTP client spends 25 ms of CPU on it."""
    # Patched only where HTTP clients look it up, because the service adds certificates to its own context.
    with mock.patch("httpx2._transports.default.create_ssl_context", functools.cache(httpx2.create_ssl_context)):
        yield


class Canaries(logging.Handler):
    """Keeps the lines of this process that hold content or a key, as production would write them."""

    def __init__(self) -> None:
        super().__init__()
        from chatservice.testing import CANARY
        from foundation.logs.formatters import JsonFormatter

        self.pattern = CANARY
        self.setFormatter(JsonFormatter())
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        if self.pattern.search(line):
            self.told.append(line)


@pytest.fixture(scope="session")
def canaries() -> Iterator[Canaries]:
    handler = Canaries()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


@pytest.fixture(autouse=True)
def no_content_is_logged(canaries: Canaries) -> Iterator[None]:
    """Fail a test whose marked content is in a log line of this process; `Service` looks at its own lines."""
    yield
    told, canaries.told = canaries.told, []
    assert not told, f"a log line holds content: {told[:3]}"


@pytest.fixture(autouse=True)
def seed(request: pytest.FixtureRequest) -> Iterator[int]:
    """Seed `random` before each test, so that a test run alone behaves as in the whole run."""
    chosen: int = request.config.option.seed
    random.seed(f"{chosen} {request.node.nodeid}")
    yield chosen


@pytest.fixture(autouse=True)
def open_admin(settings: object) -> None:
    """Enable the admin for Django's test client, which has no TCP connection to check.

    A service in a separate process keeps the default.
    """
    settings.ADMIN_ENABLED = True


@pytest.fixture(autouse=True)
def prices_of_this_test() -> Iterator[None]:
    """Forget the prices that are kept in memory: the next test has others."""
    yield
    prices = sys.modules.get("usage.own_prices")
    if prices is not None:
        prices.forget_own_prices()


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """Stop the shared service before its database is dropped: PostgreSQL does not drop a database that is in use."""
    yield
    testing = sys.modules.get("chatservice.testing")
    if testing is not None:
        testing.stop_shared_service()


@pytest.fixture
def redis_url(request: pytest.FixtureRequest) -> str:
    """URL of a Redis that answers; skips if there is none, or fails if CI=true.

    A TestCase takes it by `@pytest.mark.usefixtures("redis_url")` and reads `self.redis_url`.
    """
    url = os.environ.get("REDIS_URL") or DEFAULT_REDIS_URL
    problem = redis_problem(url)
    if problem and CI:
        pytest.fail(f"needs Redis, and CI=true promises one: {problem}", pytrace=False)
    if problem:
        pytest.skip(f"needs Redis: {problem} (start one, or set REDIS_URL)")
    if request.instance is not None:
        request.instance.redis_url = url
    return url


def redis_problem(url: str) -> str:
    """Why nothing usable answers at `url`; empty if something does. Never shows the password in the URL."""
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 6379
    try:
        with socket.create_connection((host, port), timeout=2) as link:
            link.sendall(b"PING\r\n")
            answer = link.recv(64)
    except OSError as error:
        return f"nothing answers at {host}:{port} ({error.strerror or error})"
    # A Redis with a password answers -NOAUTH, so it is a Redis.
    return "" if answer.startswith((b"+PONG", b"-NOAUTH")) else f"{host}:{port} is not a Redis"
