"""What the admin costs with a million messages on PostgreSQL: each page's queries and milliseconds against a budget.

The pages on usage read the ledger of a year of ten million requests: PAYERS users a day, with three models each.

    python -m benchmarks.admin [--messages 1000000]

The database itself creates the rows, in a temporary server; this process requests the pages.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.isolated import own_directory
from scripts.postgres import postgres

MAX_QUERIES, MAX_MILLISECONDS = 15, 200.0
ROUNDS = 7
PER_TALK = 10
DIMENSIONS = ("user", "group", "key", "model", "upstream", "day", "month")
FAILURES_BY = ("code", "model", "upstream")
USERS = 2_000
LONG_TALK = 2_000
REASON = "Measuring how long this takes"
PAYERS = 500
ROWS = [Path(__file__).with_name(name) for name in ("admin_rows.sql", "usage_rows.sql")]


def fill(messages: int) -> None:
    """Create the rows with triggers off: the rows are valid by construction, so checks would only cost time."""
    from django.db import connection

    from usage.months import sum_up_months

    values = {
        "users": USERS,
        "talks": messages // PER_TALK,
        "per_talk": PER_TALK,
        "reason": REASON,
        "payers": PAYERS,
    }
    statements = [each for path in ROWS for each in path.read_text(encoding="utf-8").split(";\n")[:-1]]
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0; SET session_replication_role = replica; SET work_mem = '256MB'")
        for statement in statements:
            began = time.perf_counter()
            for name, value in values.items():
                statement = statement.replace(f":{name}", str(value))
            cursor.execute(statement)
            print(f"  {time.perf_counter() - began:6.1f} s  {' '.join(statement.split(chr(10))[-1:])[:60]}", flush=True)
        cursor.execute("SET session_replication_role = origin; SET statement_timeout = '10s'; RESET work_mem")
        began = time.perf_counter()
        print(f"  {sum_up_months()} months are summed up in {time.perf_counter() - began:.1f} s", flush=True)
        cursor.execute("VACUUM ANALYZE")


class Watch:
    """Counts and times the statements of every connection in every thread."""

    count = 0
    seconds = 0.0

    def __call__(self, execute: Any, sql: Any, params: Any, many: Any, context: Any) -> Any:
        began = time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            self.count += 1
            self.seconds += time.perf_counter() - began

    def join(self, connection: Any, **kwargs: Any) -> None:
        if self not in connection.execute_wrappers:
            connection.execute_wrappers.append(self)


def row(name: str, watch: Watch, client: Any, address: str, before: Callable[[], None] | None = None) -> bool:
    """Print the cost of one page; return whether it stays within the budget."""
    took, inside, counts = [], [], []
    for _ in range(ROUNDS):
        if before is not None:
            before()
        count, seconds, began = watch.count, watch.seconds, time.perf_counter()
        status = client.get(address).status_code
        took.append((time.perf_counter() - began) * 1000)
        inside.append((watch.seconds - seconds) * 1000)
        counts.append(watch.count - count)
        if status != 200:
            raise AssertionError(f"{address} answered {status}")
    median = statistics.median(took)
    good = max(counts) < MAX_QUERIES and median < MAX_MILLISECONDS
    figures = f"{max(counts)} | {median:.0f} | {statistics.median(inside):.0f} | {max(took):.0f}"
    print(f"| {name} | {figures} |{'' if good else '  <- over'}", flush=True)
    return good


def pages() -> dict[str, str]:
    """Return the paths to request, by their names in the report."""
    from accounts.models import ApiKey
    from completions.models import Run
    from conversations.models import Conversation

    talk = Conversation.objects.order_by("-updated_at").first()
    run = Run.objects.order_by("-id").first()
    assert talk is not None and run is not None
    key = ApiKey.objects.filter(user=talk.owner)[0]
    talks, runs = "/admin/conversations/conversation/", "/admin/completions/run/"
    return {
        "index": "/admin/",
        "conversations": talks,
        "conversations, page 10": f"{talks}?p=10",
        "conversations, by activity of a day": f"{talks}?updated=day",
        "conversations, of one owner": f"{talks}?owner={talk.owner.username}",
        "conversations, by a common model": f"{talks}?model=gpt-4o-mini",
        "conversations, by a rare model": f"{talks}?model=rare-model",
        "conversations, with failed answers": f"{talks}?ended=failed",
        "conversations, of guests": f"{talks}?guest=yes",
        "conversations, archived": f"{talks}?archived=yes",
        "conversations, search in titles, many": f"{talks}?q=Planning",
        "conversations, search in titles, none": f"{talks}?q=nothing-like-it",
        "conversations, search by name": f"{talks}?q={talk.owner.username}",
        "conversations, search by id": f"{talks}?q={talk.pk}",
        "transcript, 10 messages": f"{talks}{talk.pk}/change/",
        "runs": runs,
        "runs, failed": f"{runs}?state=failed",
        "runs, by error": f"{runs}?error=upstream_timeout",
        "runs, by a rare model": f"{runs}?model=rare-model",
        "runs, of a week": f"{runs}?made=week",
        "runs, of one user": f"{runs}?q={talk.owner.username}",
        "run": f"{runs}{run.pk}/change/",
        "users": "/admin/accounts/user/",
        "users, search": "/admin/accounts/user/?q=user-12",
        "user": f"/admin/accounts/user/{talk.owner_id}/change/",
        "keys": "/admin/accounts/apikey/",
        "key": f"/admin/accounts/apikey/{key.pk}/change/",
        "runs, of one key": f"{runs}?key=cb_{key.kid}",
        "runs, of any dates": f"{runs}?since=2020-01-01&until=2030-01-01&failed=yes",
        "conversations, of any dates": f"{talks}?since=2020-01-01&until=2030-01-01",
        **{f"failed runs by {by}": f"/admin/dashboard/failures/?since=2020-01-01&by={by}" for by in FAILURES_BY},
        **usage_pages(talk.owner.username),
        "access log": "/admin/conversations/accesslogentry/",
        "access log, of one owner": f"/admin/conversations/accesslogentry/?q={talk.owner_id}",
    }


def usage_pages(username: str) -> dict[str, str]:
    """Return the pages on usage and budgets; "a year" is as long as can be asked for."""
    from django.contrib.auth.models import Group

    from accounts.models import ApiKey
    from dashboard.usage_form import earliest, today

    usage, year = "/admin/dashboard/usage/", f"since={earliest(today())}"
    group, key = Group.objects.filter(name="Team 7").get().pk, ApiKey.objects.filter(user__username=username)[0].kid
    return {
        "usage of 30 days by user": usage,
        "usage of 30 days by day": f"{usage}?by=day",
        **{f"usage of a year by {by}": f"{usage}?{year}&by={by}" for by in DIMENSIONS},
        "usage of a year of one group by user": f"{usage}?{year}&group={group}",
        "usage of a year of one user by day": f"{usage}?{year}&user={username}&by=day",
        "usage of a year of one key by model": f"{usage}?{year}&key=cb_{key}&by=model",
        "usage of a year of one model by user": f"{usage}?{year}&model=gpt-4o",
        "usage of a year of one model by day": f"{usage}?{year}&model=gpt-4o&by=day",
        "usage of a year by user, CSV": f"{usage}csv/?{year}",
        "budgets": "/admin/usage/budget/",
        "use of budgets": "/admin/usage/budgetuse/",
        "budgets near a limit": "/admin/usage/budgetuse/?use=near",
        "prices": "/admin/usage/modelprice/",
    }


def report() -> bool:
    """Print the cost of every page; return whether all stay within budget. An uncached dashboard has no budget."""
    from django.conf import settings
    from django.db import connections
    from django.db.backends.signals import connection_created
    from django.test import Client

    from accounts.services import register_user
    from conversations.models import Conversation
    from dashboard import page as dashboard

    settings.ALLOWED_HOSTS = ["testserver"]
    settings.ADMIN_ENABLED = True  # requests of the test client come from nowhere
    watch = Watch()
    connection_created.connect(watch.join)
    connections.close_all()
    client = Client()
    client.force_login(register_user(username="bench", superuser=True))
    talk = Conversation.objects.order_by("-updated_at")[0]
    client.post(f"/admin/conversations/conversation/{talk.pk}/change/", {"reason": REASON})
    print("\n| page | queries | median ms | of it database | slowest ms |\n|---|---|---|---|---|", flush=True)
    rows = [row(name, watch, client, address) for name, address in pages().items()]
    row("dashboard, of a process that just began", watch, client, "/admin/dashboard/", dashboard.forget)
    for _ in range(30):  # until all days are counted
        dashboard.forget_kept()
        client.get("/admin/dashboard/")
    row("dashboard, today anew (once a minute)", watch, client, "/admin/dashboard/", dashboard.forget_kept)
    row("dashboard", watch, client, "/admin/dashboard/")
    row("index, anew (once a minute)", watch, client, "/admin/", dashboard.forget_kept)
    kept = "kept" if all(rows) else "NOT KEPT"
    print(f"\nBudget: fewer than {MAX_QUERIES} queries and {MAX_MILLISECONDS:.0f} ms: {kept}.")
    return all(rows)


def inside(messages: int) -> int:
    """Fill the database that DATABASE_URL names, and run the measurement."""
    import django
    from django.core.management import call_command

    from chatservice import startup

    startup.prepare_first_run()
    django.setup()
    call_command("migrate", verbosity=0)
    print(f"Making {messages:,} messages", flush=True)
    fill(messages)
    return 0 if report() else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        return inside(given.messages)
    with own_directory() as surroundings, postgres() as url:
        own = {**os.environ, **surroundings, "DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "chatservice.settings"}
        own["DATABASE_STATEMENT_SECONDS"] = "0"  # the rows take longer
        return subprocess.run(
            [sys.executable, "-m", __spec__.name, "--inside", f"--messages={given.messages}"], env=own
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
