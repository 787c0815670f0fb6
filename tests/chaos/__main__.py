"""`python -m tests.chaos [SCENARIO...]` runs scenarios, prints their findings, and fails if a promise was broken."""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator

import uvloop

from scripts.isolated import own_directory
from scripts.postgres import postgres

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatservice.settings")


@contextlib.contextmanager
def database(name: str) -> Iterator[None]:
    """Set the environment for a new database of this kind, and create its tables."""
    with contextlib.ExitStack() as stack:
        os.environ.update(stack.enter_context(own_directory()))
        if name == "postgresql":
            os.environ["DATABASE_URL"] = stack.enter_context(postgres())
        else:
            os.environ["DATABASE_URL"] = f"sqlite:///{tempfile.mkdtemp(prefix='chaos-')}/chat.sqlite3"
        import django
        from django.core.management import call_command

        from chatservice import startup

        startup.prepare_first_run()
        django.setup()
        call_command("migrate", verbosity=0)
        yield


async def play(names: list[str], seed: int, rounds: int, share: float) -> int:
    from chatservice.testing import fake_upstream
    from tests.chaos.scenarios import SCENARIOS
    from tests.chaos.verdict import complaints, table

    found = []
    for name in names or list(SCENARIOS):
        scenario = SCENARIOS[name]
        if scenario.needs_postgres and "postgres" not in os.environ["DATABASE_URL"]:
            continue
        fake_upstream().requests.clear()  # thousands of them, and each cluster counts only its own
        began = time.monotonic()
        verdict = await scenario.run(seed, rounds or max(1, round(scenario.full * share)))
        found.append(verdict)
        seconds = time.monotonic() - began
        bad = len(verdict.violations)
        print(f"{name}: {verdict.rounds} rounds in {seconds:.0f} s, {bad} violations", file=sys.stderr, flush=True)
        print(complaints([verdict]), file=sys.stderr, end="\n" if bad else "", flush=True)
    print(table(found))
    return 1 if any(each.violations for each in found) else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", help="by name; all by default")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--rounds", type=int, default=0, help="of each scenario; its full number by default")
    parser.add_argument("--share", type=float, default=1.0, help="of the full number, where --rounds is not given")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    given = parser.parse_args()
    again = f"--seed {given.seed} --database {given.database}"
    print(f"python -m tests.chaos {' '.join(given.scenarios)} {again}", file=sys.stderr, flush=True)
    with database(given.database):
        return uvloop.run(play(given.scenarios, given.seed, given.rounds, given.share))


if __name__ == "__main__":
    sys.exit(main())
