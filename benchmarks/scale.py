"""What grows with the store: the same requests on a database of few messages and on one of ten million.

    python -m benchmarks.scale [--messages 10000000] [--small 20000] [--requests 400]

Two services on PostgreSQL, with as much history a user in both, are asked in turn: their 99th percentiles are compared
within one run, at most 1.5 is the goal. Three million messages take 8 minutes and 25 GB to make.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import random
import secrets
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.competitors import LIMITS, server_command, start_upstream
from benchmarks.processes import HOST, ROOT, Process, environment, free_port
from scripts.isolated import own_directory
from scripts.postgres import postgres

GOAL = 1.5
ASKING = 50
"""How many of the users ask."""
READY_SECONDS = 120.0
SERVER = {"shared_buffers": "4GB", "max_wal_size": "8GB", "checkpoint_timeout": "30min"}
ADMIN = {
    "admin: conversations": "/admin/conversations/conversation/",
    "admin: runs": "/admin/completions/run/",
    "admin: users": "/admin/accounts/user/",
}
SIZES = """
SELECT relname, reltuples::bigint, pg_table_size(oid), pg_indexes_size(oid) FROM pg_class
WHERE relkind = 'r' AND pg_total_relation_size(oid) > 50000000 ORDER BY pg_total_relation_size(oid) DESC
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=10_000_000)
    parser.add_argument("--small", type=int, default=20_000, help="messages of the database to compare with")
    parser.add_argument("--requests", type=int, default=400, help="of each kind")
    parser.add_argument("--fill", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.fill:
        return _fill(given.fill)
    with contextlib.ExitStack() as stack:
        small, large = (stack.enter_context(_store(size)) for size in (given.small, given.messages))
        good = _compare(small, large, given.requests)
        print(f"\nAt most {GOAL} times the 99th percentile: {'kept' if good else 'NOT KEPT'}.")
        return 0 if good else 1


class Store:
    """One size: its service, and what to ask it with."""

    def __init__(self, port: int, made: dict[str, Any]) -> None:
        self.made = made
        self._line = http.client.HTTPConnection(HOST, port, timeout=60)

    def milliseconds(self, method: str, path: str, *, key: str = "", body: Any = None) -> tuple[float, bytes]:
        headers = {"Authorization": f"Bearer {key}"} if key else {"Cookie": self.made["cookie"]}
        sent = None if body is None else json.dumps(body)
        began = time.perf_counter()
        self._line.request(method, path, sent, {**headers, "Content-Type": "application/json"})
        response = self._line.getresponse()
        answer = response.read()
        took = (time.perf_counter() - began) * 1_000
        if response.status not in (200, 201):
            raise AssertionError(f"{method} {path} answered {response.status}: {answer[:300]!r}")
        return took, answer


@contextlib.contextmanager
def _store(messages: int) -> Iterator[Store]:
    """Yield a service over that many messages, on a PostgreSQL of its own."""
    with own_directory() as own, postgres(durable=True, **SERVER) as url, contextlib.ExitStack() as stack:
        logs = Path(own["VAR_DIR"])
        upstream = start_upstream(logs)
        stack.callback(upstream.stop)
        upstream.wait_ready(READY_SECONDS)
        port = free_port()
        env = environment(
            **LIMITS,
            DATABASE_URL=url,
            VAR_DIR=own["VAR_DIR"],
            SECRET_KEY=secrets.token_urlsafe(48),
            KEY_PEPPER=secrets.token_urlsafe(48),
            OPENAI_BASE_URL=f"http://{HOST}:{upstream.port}/v1",
            OPENAI_API_KEY="unused",
            SEARCH_EMBEDDER="minilm-int8",
            SEARCH_INDEXER="false",
            ADMIN_ENABLED="true",
            LIMIT_SEARCHES_PER_MINUTE="0",
            HOST=HOST,
            PORT=str(port),
        )
        fill = [sys.executable, "-m", "benchmarks.scale", "--fill", str(messages)]
        made = subprocess.run(fill, cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE).stdout
        service = Process("service", server_command("uvicorn", port), port=port, ready="/readyz", env=env, logs=logs)
        stack.callback(service.stop)
        service.wait_ready(READY_SECONDS)
        yield Store(port, json.loads(made))


def _compare(small: Store, large: Store, requests: int) -> bool:
    print(
        f"| request | p50 at {small.made['messages']:,} | p99 | p50 at {large.made['messages']:,} | p99 | p99, ratio |"
    )
    print("|---|---|---|---|---|---|", flush=True)
    good = True
    for name in (*REQUESTS, *ADMIN):
        took: dict[Store, list[float]] = {small: [], large: []}
        dice = {store: random.Random(name) for store in took}
        for number in range(requests + requests // 10):
            for store, found in took.items():
                milliseconds = _ask(store, name, dice[store])
                if number >= requests // 10:  # what comes before fills caches
                    found.append(milliseconds)
        figures = [float(np.percentile(took[store], at)) for store in took for at in (50, 99)]
        ratio = figures[3] / figures[1]
        good = good and ratio <= GOAL
        print(f"| {name} | {' | '.join(f'{each:.1f}' for each in figures)} | {ratio:.2f} |", flush=True)
    for store in (small, large):
        made = store.made
        print(f"\n{made['messages']:,} messages, {made['users']:,} users, filled in {made['seconds']} s:\n")
        print("| table | rows | MB | of its indexes |\n|---|---|---|---|")
        for name, rows, size, indexes in made["sizes"]:
            print(f"| {name} | {rows:,} | {size / 1e6:,.0f} | {indexes / 1e6:,.0f} |", flush=True)
    return good


REQUESTS = ("list", "read", "ask", "ask again", "search")


def _ask(store: Store, name: str, dice: random.Random) -> float:
    if name in ADMIN:
        return store.milliseconds("GET", ADMIN[name])[0]
    user = dice.choice(store.made["asking"])
    key, talk = user["key"], dice.choice(user["conversations"])
    match name:
        case "list":
            return store.milliseconds("GET", f"/v1/chat/conversations?page={dice.randint(1, 3)}&limit=20", key=key)[0]
        case "read":
            return store.milliseconds("GET", f"/v1/chat/conversations/{talk}/messages?limit=50", key=key)[0]
        case "search":
            words = "+".join(dice.choices(store.made["words"], k=4))
            return store.milliseconds("GET", f"/v1/chat/search?q={words}", key=key)[0]
        case "ask":
            body = {"model": "flood-1", "messages": [{"role": "user", "content": f"Question {dice.random()}?"}]}
            return store.milliseconds("POST", "/v1/chat/completions", key=key, body=body)[0]
        case _:
            body = {"content": f"And then {dice.random()}?", "model": "flood-1"}
            return store.milliseconds("POST", f"/v1/chat/conversations/{talk}/messages", key=key, body=body)[0]


def _fill(messages: int) -> int:
    """Fill the database that DATABASE_URL names; print what to ask it with as JSON."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatservice.settings")
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)

    from django.conf import settings
    from django.db import connection
    from django.test import Client

    from accounts.models import User
    from accounts.services import issue_api_key, register_user
    from benchmarks.retrieval_rows import Maker, begin, settle
    from benchmarks.scale_rows import make
    from conversations.models import Conversation, Message
    from search.embedders import loading
    from search.indexing import embedder_number

    began = time.perf_counter()
    begin()
    make(messages, embedder_number(loading.current()), lambda line: print(f"  {line}", file=sys.stderr, flush=True))
    settle()
    seconds = round(time.perf_counter() - began)
    users = list(User.objects.filter(username__startswith="owner-").order_by("pk"))
    asking = random.Random(1).sample(users, min(ASKING, len(users)))
    client = Client()
    client.force_login(register_user(username="staff", superuser=True))
    with connection.cursor() as cursor:
        cursor.execute(SIZES)
        sizes = cursor.fetchall()

    def of_user(user: User) -> Iterable[Any]:
        return Conversation.objects.filter(owner=user).values_list("pk", flat=True)

    made = {
        "messages": Message.objects.count(),
        "users": len(users),
        "seconds": seconds,
        "sizes": sizes,
        "words": Maker(1, 1).words[20:2_000],
        "cookie": f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}",
        "asking": [
            {"key": issue_api_key(user=user)[1], "conversations": list(map(str, of_user(user)))} for user in asking
        ],
    }
    print(json.dumps(made))
    return 0


if __name__ == "__main__":
    sys.exit(main())
