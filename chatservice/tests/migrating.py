"""Databases in the state of an earlier migration, for tests of later migrations."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from django.db import connection

from chatservice import testing
from chatservice.testing import KeptTablesTestCase

MIGRATE = """
import json, sys
import django
from django.core.management import call_command
django.setup()
for target in json.loads(sys.argv[1]):
    call_command("migrate", *target, verbosity=0)
"""
Execute = Callable[[str], list[tuple[Any, ...]]]


class MigrationTestCase(KeptTablesTestCase):
    def migrate(self, url: str, *targets: tuple[str, ...]) -> str:
        """Migrate to each of `targets` in turn, or to the newest state, in one process: each start takes a second."""
        return self.run_python(url, "-c", MIGRATE, json.dumps(targets or [()]))

    def run_python(self, url: str, *arguments: str) -> str:
        """Run Python with this database, and return its output."""
        environment = {**os.environ, "ENV_FILE": os.devnull, "DATABASE_URL": url, "SQLITE_SYNCHRONOUS": "OFF"}
        environment |= {"DJANGO_SETTINGS_MODULE": "chatservice.settings", "SEARCH_EMBEDDER": "hashing"}
        done = subprocess.run(
            [sys.executable, *arguments], cwd=testing.ROOT, env=environment, capture_output=True, text=True
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout + done.stderr

    @contextmanager
    def database(self) -> Iterator[tuple[str, Execute]]:
        """Create a database of this test run's kind; yield its URL, and a function that runs a statement in it."""
        if connection.vendor == "sqlite":
            with tempfile.TemporaryDirectory() as directory:
                path = Path(directory) / "chat.sqlite3"
                with closing(sqlite3.connect(path, isolation_level=None)) as file:
                    yield f"sqlite:///{path}", lambda statement: file.execute(statement).fetchall()
            return
        name = f"migrated_{uuid.uuid4().hex[:12]}"
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name}")
        try:
            url = urlsplit(testing.test_database_url())._replace(path=f"/{name}").geturl()
            with psycopg.connect(url, autocommit=True) as server:

                def execute(statement: str) -> list[tuple[Any, ...]]:
                    result = server.execute(statement)
                    return result.fetchall() if result.description else []

                yield url, execute
        finally:
            with connection.cursor() as cursor:
                cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")
