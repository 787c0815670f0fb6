"""A full disk: answers end with their stored part, readiness is red, the log has one line, and the service recovers."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import sqlite3
import subprocess
import sys
import time
import unittest
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import psycopg
import pytest
from django.db import connection

from chatservice.testing import ROOT, Service, wait_until
from chatservice.testing.disks import fill, small_disk
from scripts.postgres import UNPRIVILEGED, postgres
from tests.background_reader import Reading, ask

MAKE_KEY = """
from accounts.services import issue_api_key, register_user
print(issue_api_key(user=register_user(username="alice"))[1])
"""
BODY = {"content": "Hi", "model": "fake/numbered:5ms:20000"}


class FullDiskCase(unittest.TestCase):
    """The tests for both databases: `place` is the disk, `url` the database on it."""

    __test__ = False

    place: Path
    url: str

    def rows(self, statement: str) -> list[tuple]:
        raise NotImplementedError

    def serve(self) -> None:
        environment = Service(env={"DATABASE_URL": self.url}).environment()
        migrate = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
        subprocess.run(migrate, cwd=ROOT, env=environment, check=True)
        shell = [sys.executable, "manage.py", "shell", "--verbosity", "0", "-c", MAKE_KEY]
        key = subprocess.run(shell, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout
        self.service = Service(env={"DATABASE_URL": self.url}).start()
        self.addCleanup(self.service.kill)
        headers = {"Authorization": f"Bearer {key.strip()}"}
        self.http = httpx2.Client(base_url=self.service.url, headers=headers, timeout=60, trust_env=False)
        self.addCleanup(self.http.close)

    def readiness(self) -> tuple[int, str]:
        answer = self.http.get("/readyz")
        return answer.status_code, answer.json()["status"]

    def test_answers_end_and_readiness_says_why_until_there_is_room(self) -> None:
        reader = Reading(self.http, BODY)
        reader.start()
        self.assertTrue(reader.begun.wait(30))
        filler = fill(self.place)
        began = time.monotonic()
        while reader.is_alive() and time.monotonic() < began + 60:
            fill(self.place)
            reader.join(0.2)
        self.assertFalse(reader.is_alive(), "the reader got no end")
        self.assertEqual(reader.frames[-1]["type"], "error", reader.frames[-1])
        self.assertEqual(self.readiness(), (503, "disk full"))
        # Larger than the space left in the database's existing pages.
        refused = ask(self.http, secrets.token_hex(15_000))
        self.assertEqual(refused.status_code, 503, refused.text)
        self.assertGreater(int(refused.headers["retry-after"]), 0)

        filler.unlink()
        wait_until(lambda: self.readiness() == (200, "ok"), timeout=30, what="green readiness")
        again = ask(self.http)
        self.assertIn("ai_complete", again.text)
        over = "SELECT count(*) FROM completions_run WHERE state = 'running'"
        wait_until(lambda: self.rows(over) == [(0,)], timeout=30, what="the end of the run")
        [(content,)] = self.rows(
            "SELECT m.content FROM completions_run r JOIN conversations_message m ON m.id = r.message_id "
            f"WHERE r.id IN ('{reader.run_id}', '{reader.run_id.replace('-', '')}')"
        )
        self.assertGreater(len(reader.said), 0)
        self.assertTrue(content.startswith(reader.said), "shown, and not stored")
        log = self.service.log()
        self.assertEqual(log.count("disk of the database is full"), 1, log)
        self.assertEqual(log.count("the disk has room again"), 1, log)
        self.assertNotIn("Traceback", log)


@pytest.mark.timeout(180)
class SQLiteTest(FullDiskCase):
    __test__ = True

    def setUp(self) -> None:
        if connection.vendor != "sqlite":
            self.skipTest("tried with the suite on SQLite")
        self.place = small_disk(self, 24)
        self.url = f"sqlite:///{self.place / 'chat.sqlite3'}"
        self.serve()

    def rows(self, statement: str) -> list[tuple]:
        with contextlib.closing(sqlite3.connect(self.place / "chat.sqlite3")) as link:
            return link.execute(statement).fetchall()


@pytest.mark.timeout(180)
class PostgresTest(FullDiskCase):
    """Only a separate tablespace is full; the server's WAL is on another disk, or the server would stop."""

    __test__ = True

    def setUp(self) -> None:
        if connection.vendor != "postgresql":
            self.skipTest("tried with the suite on PostgreSQL")
        self.place = small_disk(self, 32)
        if os.geteuid() == 0:
            account = pwd.getpwnam(UNPRIVILEGED)
            os.chown(self.place, account.pw_uid, account.pw_gid)
        server = postgres()
        self.server_url = server.__enter__()
        self.addCleanup(server.__exit__, None, None, None)
        with psycopg.connect(self.server_url, autocommit=True) as link:
            link.execute(f"CREATE TABLESPACE small LOCATION '{self.place}'")
            link.execute("CREATE DATABASE small TABLESPACE small")
        self.url = urlsplit(self.server_url)._replace(path="/small").geturl()
        self.serve()

    def rows(self, statement: str) -> list[tuple]:
        with psycopg.connect(self.url) as link:
            return link.execute(statement).fetchall()
