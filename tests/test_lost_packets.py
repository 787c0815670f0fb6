"""When packets to the database are lost, TCP itself ends the statement, whatever the statement's time limit."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time

import pytest
from django.db import connection
from django.test import SimpleTestCase

from chatservice import testing
from chatservice.testing import ROOT
from completions.tests.silent_line import SilentLine
from conftest import CI

BOUND = 20.0
HERE, THERE = "10.213.7.1", "10.213.7.2"
ASK = """
import django, sys, time
django.setup()
from django.db import connection, OperationalError
cursor = connection.cursor()
cursor.execute("SET statement_timeout = 0")
print("connected", flush=True)
if sys.argv[1] == "waits":
    statement = "SELECT pg_sleep(120)"
else:
    statement = "SELECT 1"
    sys.stdin.readline()
try:
    cursor.execute(statement)
except OperationalError:
    print("ended", flush=True)
"""


class LostPacketsTest(SimpleTestCase):
    databases = {"default"}

    def setUp(self) -> None:
        if connection.vendor != "postgresql":
            self.skipTest("a file is reached without packets")
        self.name = f"chat{secrets.token_hex(3)}"
        try:
            self.ip("netns", "add", self.name)
        except (OSError, subprocess.CalledProcessError) as missing:
            if CI:
                pytest.fail(f"needs a network of its own, and CI=true promises that: {missing}", pytrace=False)
            self.skipTest("needs a network of its own: iproute2, and to be root")
        self.addCleanup(self.ip, "netns", "del", self.name)
        self.ip("link", "add", self.name, "type", "veth", "peer", "name", "there", "netns", self.name)
        self.ip("address", "add", f"{HERE}/30", "dev", self.name)
        self.ip("link", "set", self.name, "up")
        self.ip("-netns", self.name, "address", "add", f"{THERE}/30", "dev", "there")
        self.ip("-netns", self.name, "link", "set", "there", "up")
        self.line = SilentLine.before(testing.test_database_url(), 5432, host=HERE).__enter__()
        self.addCleanup(self.line.__exit__)

    @staticmethod
    def ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, capture_output=True)

    def seconds(self, how: str) -> float:
        """Return how long a statement took to end after packets stopped arriving."""
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "chatservice.settings",
            "DATABASE_URL": self.line.url,
            # Only TCP may end the statement.
            "DATABASE_STATEMENT_SECONDS": "0",
        }
        command = ["ip", "netns", "exec", self.name, sys.executable, "-c", ASK, how]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, text=True) as asking:
            self.addCleanup(asking.kill)
            assert asking.stdout is not None
            self.assertEqual(asking.stdout.readline(), "connected\n")
            self.ip("link", "set", self.name, "down")
            began = time.monotonic()
            told, _ = asking.communicate("now\n", timeout=60)
            self.assertEqual(told, "ended\n")
        return time.monotonic() - began

    def test_a_statement_that_nobody_acknowledges_ends(self) -> None:
        self.assertLess(self.seconds("asks"), BOUND)

    def test_a_statement_whose_answer_cannot_come_ends(self) -> None:
        self.addCleanup(self.end_on_the_server)
        self.assertLess(self.seconds("waits"), BOUND)

    @staticmethod
    def end_on_the_server() -> None:
        """End the abandoned statements, because the server does not know that their clients are gone."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE query LIKE 'SELECT pg_sleep(120)%' AND pid <> pg_backend_pid()"
            )
