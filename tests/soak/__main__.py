"""`python -m tests.soak [--minutes N]`: four processes behind nginx on PostgreSQL, one fault after the other.

Users ask all the time by every API while a process is killed, PostgreSQL restarted, its network silent, Redis away, a
disk full and the upstream hanging, in turn, with a backup in the middle. Prints a line for each fault and a table, and
fails if a promise was broken.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import uvloop

from scripts.isolated import own_directory
from tests.soak.servers import DATABASE, Database, Redis, running_database, running_redis

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatservice.settings")
ENDED_EARLY = 130


@contextlib.contextmanager
def surroundings() -> Iterator[tuple[Database, Redis, Path]]:
    """Run the servers, and prepare Django and its tables; yield an empty folder, too. Nothing is left in the end."""
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        own = stack.enter_context(own_directory())
        redis = stack.enter_context(running_redis())
        server = stack.enter_context(running_database())
        os.environ.update({**own, "DATABASE_URL": server.url, "REDIS_URL": ""})
        import django
        from django.core.management import call_command

        from chatservice import startup

        startup.prepare_first_run()
        django.setup()
        from chatservice.testing.disks import mounted
        from tests.soak.faults import DISK_MEGABYTES

        server.disk = stack.enter_context(mounted(DISK_MEGABYTES))
        stack.callback(server.end)  # before its disk goes away
        server.create(DATABASE, server.disk)
        call_command("migrate", verbosity=0)
        yield server, redis, home


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="for how long faults follow each other")
    parser.add_argument("--faults", default="", metavar="TEXT", help="only those with this in their name")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    given = parser.parse_args()
    print(f"python -m tests.soak --minutes {given.minutes:g} --seed {given.seed}", file=sys.stderr, flush=True)
    # Even where the shell has it ignored; the others end as Ctrl-C does: everything is stopped and removed.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        with surroundings() as (server, redis, home):
            from tests.chaos.verdict import complaints, table
            from tests.soak.run import soak

            found = uvloop.run(soak(given.seed, given.minutes, given.faults, server, redis, home))
    except KeyboardInterrupt:
        return ENDED_EARLY
    print(complaints(found), file=sys.stderr, flush=True)
    print(table(found))
    return 1 if any(each.violations for each in found) else 0


if __name__ == "__main__":
    sys.exit(main())
