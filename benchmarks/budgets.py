"""What budgets cost: accepts a second with three that apply (everybody's, the group's, the user's), and with none.

python -m benchmarks.budgets [--database sqlite|postgresql] [--slices 16]

First what a caller sees: a service with budgets and one without, side by side, are asked for answers of one token, so
that little but accepting them is measured. At most 1.10 is the goal. Then the transaction alone: one process stores
questions as the journal does. Both alternate in short slices, and each transaction is durable: compare ratios within
one run.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

from benchmarks.runner import Runner
from scripts.isolated import own_directory
from scripts.postgres import postgres

DATABASES = ("sqlite", "postgresql")
GOAL = 1.10
USERS = 32
AT_ONCE = (1, 16)
"""How many questions a transaction stores: one caller's, or what arrives while the transaction before it is stored."""
CALLERS = (1, 64)
ONE_TOKEN = "flood-1"
SLICE_SECONDS = 2.0
"""As long as a process keeps what it read about budgets, and whose groups it looked up."""
CALL_SECONDS = 1.5
PLENTY = 10**15


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=DATABASES, help="both by default")
    parser.add_argument("--slices", type=int, default=16, help="of each kind and size; their medians count")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        return _measure(given.slices)
    databases = [given.database] if given.database else DATABASES
    _measure_calls(databases, given.slices)
    for database in databases:
        command = [sys.executable, "-m", "benchmarks.budgets", f"--slices={given.slices}", "--inside"]
        with own_directory() as environment:
            environment = {**os.environ, **environment, "SEARCH_EMBEDDER": "hashing"}
            if database == "sqlite":
                subprocess.run(command, env=environment, check=True)
                continue
            with postgres(durable=True) as url:
                subprocess.run(command, env={**environment, "DATABASE_URL": url}, check=True)
    return 0


def _measure_calls(databases: Sequence[str], slices: int) -> None:
    print("| database | callers | answers/s without | with three budgets | times the cost |")
    print("|---|---|---|---|---|", flush=True)
    with Runner(extra={"SEARCH_EMBEDDER": "hashing"}) as runner:
        for database in databases:
            name = f"service-uvicorn-{'sqlite' if database == 'sqlite' else 'postgres'}"
            targets = runner.start(name), runner.start(f"{name}-budgets")
            runner.warm_up(targets, seconds=1.0)
            for callers in CALLERS:
                rates: tuple[list[float], list[float]] = [], []
                for number in range(slices):
                    for which in (0, 1) if number % 2 else (1, 0):
                        result = runner.measure(
                            targets[which], "plain", ONE_TOKEN, clients=callers, seconds=CALL_SECONDS
                        )
                        if result["faulty"]:
                            raise AssertionError(f"{result['faults']}")
                        rates[which].append(result["rate"])
                _report(f"{database} | {callers}", *rates)


def _report(what: str, without: list[float], limited: list[float]) -> None:
    ratio = median(off / on for off, on in zip(without, limited, strict=True))
    mark = "" if ratio <= GOAL else " (the goal is 1.10)"
    print(f"| {what} | {median(without):,.0f} | {median(limited):,.0f} | {ratio:.2f}{mark} |", flush=True)


def _measure(slices: int) -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatservice.settings")
    import django
    from django.conf import settings
    from django.core.management import call_command
    from django.db import connection

    from chatservice import startup

    startup.prepare_first_run()
    django.setup()
    for limit in ("LIMIT_RUNS_PER_USER", "LIMIT_RUN_STARTS_PER_MINUTE", "LIMIT_ROWS_PER_MINUTE"):
        setattr(settings, limit, 10**9)  # counted as always, and never reached
    call_command("migrate", verbosity=0)

    from benchmarks.report import machine
    from completions.tests.asking import somebody

    print(f"{connection.vendor}; {machine()['cpu']}; load average {os.getloadavg()[0]:.1f}")
    print("| questions a transaction | accepts/s without | with three budgets | times the cost |")
    print("|---|---|---|---|", flush=True)
    users = [somebody(f"user{number}") for number in range(USERS)]
    _make_budgets(users)
    for size in AT_ONCE:
        rates: dict[bool, list[float]] = {False: [], True: []}
        for number in range(2 * slices + 2):
            limited = number % 2 == 1
            rate = _slice(users, size, limited=limited)
            if number >= 2:  # the first of each fill caches
                rates[limited].append(rate)
        _report(str(size), rates[False], rates[True])
    return 0


def _make_budgets(users: list[Any]) -> None:
    from django.contrib.auth.models import Group

    from usage.models import Budget

    group = Group.objects.create(name="benchmark")
    group.user_set.add(*users)
    Budget.objects.create(name="everybody", max_tokens=PLENTY)
    Budget.objects.create(name="group", max_cost=PLENTY, group=group)
    Budget.objects.create(name="each user", max_tokens=PLENTY, for_each=True)


def _slice(users: list[Any], size: int, *, limited: bool) -> float:
    """Store questions for SLICE_SECONDS; return how many a second. Afterwards nothing runs, and nothing is reserved."""
    from django.utils import timezone

    from completions.commits import Attempt, Batch
    from completions.models import Run
    from completions.run_requests import RunHandle
    from completions.tests.asking import question
    from usage.budget_rules import forget_budgets
    from usage.models import Budget, BudgetUse, Reservation

    Budget.objects.update(is_active=limited)
    forget_budgets()
    loop = asyncio.new_event_loop()
    stored, began = 0, time.perf_counter()
    while (taken := time.perf_counter() - began) < SLICE_SECONDS:
        batch = Batch()
        for number in range(size):
            user = users[(stored + number) % USERS]
            text = f"Question {stored + number} at {began}: what is made of ordinary words?"
            request = question(user, text, threaded=True, exclusive=False, parameters={"max_tokens": 200})
            batch.requests.append((request, loop.create_future(), print))
        results = Attempt(batch).run(60.0).requests
        if not all(isinstance(each, RunHandle) for each in results):
            raise AssertionError(f"refused: {results}")
        stored += size
    loop.close()
    Run.objects.running().update(state=Run.State.COMPLETE, finished_at=timezone.now())
    reserved = Reservation.objects.count()
    if bool(reserved) != limited:
        raise AssertionError(f"{reserved} reservations")
    Reservation.objects.all().delete()
    BudgetUse.objects.update(reserved_tokens=0, reserved_cost=0)
    return stored / taken


if __name__ == "__main__":
    sys.exit(main())
