"""The competitors and how each is started: direct, this service on every server and database, the relay, LiteLLM."""

from __future__ import annotations

import json
import secrets
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks import wire
from benchmarks.processes import HOST, ROOT, Process, environment, free_port, run

SERVERS = ("daphne", "uvicorn", "granian")
DATABASES = ("sqlite", "postgres")
SERVICES = tuple(f"service-{server}-{database}" for database in DATABASES for server in SERVERS)
NAMES = ("direct", *SERVICES, "relay", "litellm")
UPSTREAM_KEY = "bench-key-upstream"
WARM_SECONDS = 60.0
WARMING = b'{"model": "default", "input": "warm"}'
# A benchmark must not run into these limits. They are raised, not switched off, so that their cost is measured.
LIMITS = {
    "LIMIT_RUNS_PER_USER": "100000",
    "LIMIT_RUNS_PER_IP": "100000",
    "LIMIT_RUNS_PER_PROCESS": "100000",
    "LIMIT_RUN_STARTS_PER_MINUTE": "10000000",
    "LIMIT_READS_PER_MINUTE": "10000000",
    "LIMIT_STREAMS_PER_USER": "100000",
    "LIMIT_STREAMS_PER_IP": "100000",
    "LIMIT_STREAMS_PER_PROCESS": "100000",
    "LIMIT_SOCKETS_PER_USER": "100000",
    "LIMIT_SOCKETS_PER_PROCESS": "100000",
    "LIMIT_CONVERSATIONS_PER_USER": "100000000",
    "LIMIT_ROWS_PER_MINUTE": "1000000000",
    "LIMIT_MESSAGES_PER_USER": "1000000000",
    "MAX_CONNECTIONS": "100000",
}
# As in budgets.py: everybody's, the group's and each user's, which are never reached.
MAKE_BUDGETS = """
from accounts.models import User
from django.contrib.auth.models import Group
from usage.models import Budget
group = Group.objects.create(name="benchmark")
group.user_set.add(User.objects.get(username="bench"))
Budget.objects.create(name="everybody", max_tokens=10**15)
Budget.objects.create(name="group", max_cost=10**15, group=group)
Budget.objects.create(name="each user", max_tokens=10**15, for_each=True)
"""


@dataclass(frozen=True, slots=True)
class Running:
    """A running competitor; `database` is the process id of its own PostgreSQL, or 0 if it has none."""

    name: str
    port: int
    key: str
    process: Process | None = None
    database: int = 0

    @property
    def pid(self) -> int:
        return self.process.pid if self.process else 0


class Services:
    """Starts this service: prepares one database of each kind, and copies it for every start."""

    def __init__(self, *, upstream: int, scratch: Path, extra: dict[str, str], postgres: Callable[[], tuple[str, int]]):
        self.upstream, self.scratch, self.extra, self._postgres = upstream, scratch, extra, postgres
        self.secrets = {"SECRET_KEY": secrets.token_urlsafe(48), "KEY_PEPPER": secrets.token_urlsafe(48)}
        self.prepared: dict[str, str] = {}  # name of the template -> API key
        self.started = 0

    def _environment(self, home: Path, database_url: str, port: int) -> dict[str, str]:
        return environment(
            **{
                "DATABASE_URL": database_url,
                "VAR_DIR": str(home),
                "OPENAI_BASE_URL": f"http://{HOST}:{self.upstream}/v1",
                "OPENAI_API_KEY": UPSTREAM_KEY,
                "HOST": HOST,
                "PORT": str(port),
                "ANONYMOUS": "off",
                "REDIS_URL": "",
                # Idle services would still index their messages and disturb the measured one.
                "SEARCH_INDEXER": "false",
                "LOG_LEVEL": "WARNING",
                **self.secrets,
                **LIMITS,
                **self.extra,
            }
        )

    def _prepare(self, kind: str, root: Path) -> str:
        """Migrate a template of this kind once, by the code in `root`, and return its name."""
        template = f"template_{kind}_{len(root.parts)}_{root.name}".replace("-", "_")
        if template not in self.prepared:
            home = self.scratch / template
            home.mkdir()
            if kind == "postgres":
                self._sql(f"CREATE DATABASE {template}")
            env = self._environment(home, self._url(kind, home, template), free_port())
            manage = [sys.executable, "manage.py"]
            run([*manage, "migrate", "-v", "0"], env=env, root=root)
            run([*manage, "create_user", "bench", "--password", secrets.token_urlsafe(16)], env=env, root=root)
            self.prepared[template] = run([*manage, "create_api_key", "bench"], env=env, root=root).split()[-1]
        return template

    def _url(self, kind: str, home: Path, name: str) -> str:
        return (
            self._postgres()[0].rpartition("/")[0] + f"/{name}"
            if kind == "postgres"
            else f"sqlite:///{home}/chat.sqlite3"
        )

    def _sql(self, statement: str) -> None:
        import psycopg  # only when PostgreSQL is part of the run

        with psycopg.connect(self._postgres()[0], autocommit=True) as connection:
            connection.execute(statement)

    def start(self, name: str, logs: Path, *, env: Mapping[str, str] | None = None, root: Path = ROOT) -> Running:
        """Start `service-<server>-<database>[-budgets]` on a fresh copy of the prepared database.

        `env` are further settings, `root` is the folder of another version.
        """
        _, server, kind, *budgets = name.split("-")
        template = self._prepare(kind, root)
        self.started += 1
        home = self.scratch / f"{name}-{self.started}"
        shutil.copytree(self.scratch / template, home)
        copy = f"bench_{self.started}"
        if kind == "postgres":
            self._sql(f"CREATE DATABASE {copy} TEMPLATE {template}")
        port = free_port()
        given = self._environment(home, self._url(kind, home, copy), port) | dict(env or {})
        if budgets:
            run([sys.executable, "manage.py", "shell", "-v", "0", "-c", MAKE_BUDGETS], env=given)
        command = server_command(server, port)
        process = Process(name, command, port=port, ready="/readyz", env=given, logs=logs, root=root)
        return Running(name, port, self.prepared[template], process, self._postgres()[1] if kind == "postgres" else 0)


def start_another(first: Running, logs: Path) -> Running:
    """Start one more process of a service that runs, on its database."""
    assert first.process is not None
    port = free_port()
    env = {**first.process.env, "PORT": str(port)}
    server = first.name.split("-")[1]
    process = Process(first.name, server_command(server, port), port=port, ready="/readyz", env=env, logs=logs)
    return Running(first.name, port, first.key, process, first.database)


def server_command(server: str, port: int) -> list[str]:
    """Return the command that starts one server with one worker, as in production."""
    application = "chatservice.asgi:application"
    python = [sys.executable, "-m", server]
    if server == "daphne":
        return [*python, "-b", HOST, "-p", str(port), "--verbosity", "0", application]
    if server == "uvicorn":  # our own limits and shutdown; HOST and PORT are in its environment
        return [sys.executable, "-m", "chatservice.server"]
    fast = ["--workers", "1", "--runtime-mode", "st", "--loop", "uvloop", "--no-access-log", "--log-level", "warning"]
    return [*python, "--interface", "asgi", "--host", HOST, "--port", str(port), *fast, application]


def wait_warm(service: Running) -> None:
    """Wait until the service has loaded its embedding model, which takes the first seconds of a process."""
    assert service.process is not None
    headers = {"Authorization": f"Bearer {service.key}", "Content-Type": "application/json"}
    service.process.wait_for("POST", "/v1/embeddings", WARM_SECONDS, body=WARMING, headers=headers)


def start_upstream(logs: Path) -> Process:
    """Start the mock upstream."""
    port = free_port()
    argv = [sys.executable, "-m", "benchmarks.upstream", "--port", str(port)]
    return Process("upstream", argv, port=port, ready="/v1/models", env=environment(), logs=logs)


def start_relay(python: Path, upstream: int, logs: Path) -> Running:
    """Start the plain relay on uvicorn with the fastest settings."""
    port = free_port()
    argv = [str(python), "-m", "uvicorn", "benchmarks.relay:app", "--host", HOST, "--port", str(port)]
    argv += ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
    env = environment(OPENAI_BASE_URL=f"http://{HOST}:{upstream}/v1", OPENAI_API_KEY=UPSTREAM_KEY)
    return Running("relay", port, "unused", Process("relay", argv, port=port, ready="/readyz", env=env, logs=logs))


def start_litellm(binary: Path, upstream: int, scratch: Path, logs: Path) -> Running:
    """Start LiteLLM's proxy: one worker, a master key, no database, no downloads."""
    port, key = free_port(), f"sk-{secrets.token_hex(16)}"
    parameters = {"api_base": f"http://{HOST}:{upstream}/v1", "api_key": UPSTREAM_KEY}
    config = {
        "model_list": [
            {"model_name": name, "litellm_params": {"model": f"openai/{name}", **parameters}} for name in wire.MODELS
        ],
        "general_settings": {"master_key": key},
    }
    path = scratch / "litellm.yaml"
    path.write_text(json.dumps(config))  # JSON is valid YAML
    argv = [str(binary), "--config", str(path), "--host", HOST, "--port", str(port), "--num_workers", "1"]
    env = environment(LITELLM_LOCAL_MODEL_COST_MAP="True", LITELLM_LOG="ERROR", LITELLM_MODE="PRODUCTION")
    ready = "/health/liveliness"
    return Running("litellm", port, key, Process("litellm", argv, port=port, ready=ready, env=env, logs=logs))


def peers_python() -> Path | None:
    """Return the Python of .venv-bench, which has FastAPI; None if it is not installed."""
    python = ROOT / ".venv-bench" / "bin" / "python"
    return python if python.exists() else None
