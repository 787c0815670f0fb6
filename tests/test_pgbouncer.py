"""Behind a real PgBouncer in transaction mode: answers, search and migrations work, and time limits apply.

PgBouncer has few connections to the database, so each transaction gets a different one than the one before.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx2
from django.conf import settings
from django.test import SimpleTestCase

from chatservice.testing import ROOT, Service, needs_dialect, sse_data, wait_until
from chatservice.tests.database_servers import pgbouncer
from scripts.postgres import postgres

LIMITS = "10s 3s 8s"
# Fails if a limit is not applied: in a transaction, in a savepoint, outside of both, and in a pipeline of statements.
SHOW = """
import django; django.setup()
from django.db import connection, transaction
from completions.bulk_sql import pipelined
from foundation.database import lift_time_limit, restore_time_limit

def limits(cursor=None):
    with connection.cursor() as cursor:
        cursor.execute("SELECT " + " || ' ' || ".join(f"current_setting('{name}')" for name in (
            "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")))
        return cursor.fetchone()[0]

print(limits())
with transaction.atomic():
    print(limits())
    with transaction.atomic():
        print(limits())
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT 1 / 0")
    except django.db.DataError:
        print(limits())
with transaction.atomic(), pipelined():
    print(limits())
lift_time_limit()
print(limits())
restore_time_limit()
print(limits())
print(connection.is_through_pooler)
"""
# Shows that each limit takes effect; the database's URL sets short limits.
ENFORCED = """
import django; django.setup()
import threading
from django.db import DatabaseError, connection, transaction

def ended(what):
    try:
        what()
    except DatabaseError as error:
        first = error
        while first.__cause__:
            first = first.__cause__
        print(type(first).__name__)
    else:
        print("nothing")

def sleep():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(60)")

def sleep_inside():
    with transaction.atomic():
        sleep()

def wait_for_lock():
    with connection.cursor() as cursor:
        cursor.execute("UPDATE held SET n = 2")

def idle():
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        idled.wait(3)
        cursor.execute("SELECT 1")

idled = threading.Event()
ended(sleep)
ended(sleep_inside)
with connection.cursor() as cursor:
    cursor.execute("DROP TABLE IF EXISTS held")
    cursor.execute("CREATE TABLE held AS SELECT 1 AS n")
    cursor.execute("VACUUM held")
taken, done = threading.Event(), threading.Event()

def hold():
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE held SET n = 3")
        taken.set()
        while not done.wait(0.1):
            cursor.execute("SELECT 1")
    connection.close()

holder = threading.Thread(target=hold)
holder.start()
taken.wait(10)
ended(wait_for_lock)
done.set()
holder.join()
ended(idle)
"""
# Server-side cursors would be lost between transactions, because other clients use the connection meanwhile.
ITERATE = """
import django; django.setup()
from django.db import connection
from accounts.models import User
from threading import Thread

User.objects.bulk_create(User(username=f"user {n}") for n in range(300))
connection.close()
found = []

def read():
    # The first statement of this process: whether a pooler is there is not known before it.
    found.append(sum(1 for user in User.objects.iterator(chunk_size=10) if User.objects.filter(pk=user.pk).exists()))
    connection.close()

threads = [Thread(target=read) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(found == [User.objects.count()] * 8)
"""

# Shows how many statements the server keeps planned for the connection that ran one again and again.
KEPT = """
import django; django.setup()
from django.db import transaction
from foundation.database import prepared_cursor

with transaction.atomic(), prepared_cursor() as cursor:
    for number in range(9):
        cursor.execute("SELECT %s + 1", [number])
        assert cursor.fetchone() == (number + 1,)
    cursor.execute("SELECT count(*) FROM pg_prepared_statements")
    print(cursor.fetchone()[0])
"""


class PgBouncerTest(SimpleTestCase):
    stack: ExitStack
    direct: str
    pooled: str

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.stack = ExitStack()
        cls.addClassCleanup(cls.stack.close)
        cls.direct = cls.stack.enter_context(postgres())
        cls.pooled = cls.stack.enter_context(pgbouncer(cls.direct, pool_size=2))
        cls.python("manage.py", "migrate", "--verbosity=0")

    @classmethod
    def environment(cls, url: str = "") -> dict[str, str]:
        secrets = {"SECRET_KEY": settings.SECRET_KEY, "KEY_PEPPER": settings.KEY_PEPPER}
        own = {"DATABASE_URL": url or cls.pooled, "DJANGO_SETTINGS_MODULE": "chatservice.settings"}
        return {**os.environ, "ENV_FILE": os.devnull, **secrets, **own}

    @classmethod
    def python(cls, *arguments: str, url: str = "") -> str:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, env=cls.environment(url), capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def test_the_time_limits_are_in_force_in_every_transaction_and_outside(self):
        silent = self.stack.enter_context(pgbouncer(self.direct, ignore_startup_parameters="options"))
        expected = [*[LIMITS] * 5, "0 3s 8s", LIMITS]
        for url, through in ((self.pooled, "True"), (silent, "True"), (self.direct, "False")):
            self.assertEqual(self.python("-c", SHOW, url=url).splitlines(), [*expected, through])
        # A setting that the server does not list does not indicate a pooler.
        role = self.python("-c", SHOW, url=f"{self.direct}?options=-c%20role%3Dpostgres").splitlines()
        self.assertEqual(role, [*expected, "False"])

    def test_statements_are_kept_planned_only_where_the_connection_stays_the_same(self):
        self.assertEqual(self.python("-c", KEPT, url=self.direct).strip(), "1")
        self.assertEqual(self.python("-c", KEPT, url=self.pooled).strip(), "0")

    def test_the_time_limits_end_what_takes_too_long(self):
        limits = {"statement_timeout": "2s", "lock_timeout": "300ms", "idle_in_transaction_session_timeout": "500ms"}
        options = "%20".join(f"-c%20{name}%3D{value}" for name, value in limits.items())
        ended = self.python("-c", ENFORCED, url=f"{self.pooled}?options={options}").split()
        self.assertEqual(
            ended, ["QueryCanceled", "QueryCanceled", "LockNotAvailable", "IdleInTransactionSessionTimeout"]
        )

    def test_reading_in_pieces_needs_no_cursor_on_the_server(self):
        self.assertEqual(self.python("-c", ITERATE).strip(), "True")

    def test_two_processes_stream_search_and_see_each_others_answers(self):
        needs_dialect("chat_v1")
        self.python("manage.py", "create_user", "alice")
        key = self.python("manage.py", "create_api_key", "alice").split()[-1]
        services = []
        for _ in range(2):
            service = Service(env={"DATABASE_URL": self.pooled, "ECHO_DELAY": "0.01", "SEARCH_INDEXER": "true"})
            self.addCleanup(service.stop)
            services.append(service.start())
        clients = [
            httpx2.Client(
                base_url=f"{service.url}/v1/chat",
                headers={"Authorization": f"Bearer {key}"},
                timeout=60,
                trust_env=False,
            )
            for service in services
        ]
        for client in clients:
            self.addCleanup(client.close)

        def ask(number: int) -> tuple[str, str, int]:
            """Ask one process, and follow the answer on the other while it is being written."""
            client, other = clients[number % 2], clients[1 - number % 2]
            body = {"content": f"Question {number} about herons. " + "word " * 60, "model": "echo"}
            with client.stream("POST", "/conversations/stream", json=body) as response:
                assert response.status_code == 200, response.read()
                followed = other.get(f"/runs/{response.headers['x-run-id']}/stream")
                return _said(response.read().decode()), _said(followed.text), followed.status_code

        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(ask, range(16)))
        for first, second, status in answers:
            self.assertEqual((status, second), (200, first))
            self.assertIn("herons", first)

        def found() -> bool:
            reply = clients[0].get("/search", params={"q": "herons", "limit": 50, "mode": "hybrid"})
            self.assertEqual(reply.status_code, 200, reply.text)
            return reply.json()["meta"]["mode"] == "hybrid" and len(reply.json()["data"]) >= 16

        wait_until(found, timeout=30, what="every answer in the index")
        listed = clients[1].get("/conversations", params={"limit": 100}).json()["data"]
        self.assertEqual(len(listed if isinstance(listed, list) else listed["conversations"]), 16)
        for service in services:
            self.assertNotIn("Traceback", service.log())
            self.assertEqual(service.stop(), 0)


def _said(text: str) -> str:
    events = [json.loads(line) for line in sse_data(text) if line != "[DONE]"]
    assert [event["type"] for event in events][-1] == "ai_complete", events[-1]
    return "".join(event["data"] for event in events if event["type"] == "ai_chunk")
