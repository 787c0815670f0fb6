"""Checks of /readyz other than the drain, a hung journal and a full disk, which have separate tests."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import httpx2
import pytest
from django.db import connection

from chatservice.testing import ROOT, Service, wait_until


class MigrationsTest(unittest.TestCase):
    def test_a_database_that_is_older_than_the_service_is_not_ready(self) -> None:
        if connection.vendor != "sqlite":
            pytest.skip("tried with the suite on SQLite")
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        file = Path(directory.name) / "chat.sqlite3"
        service = Service(env={"DATABASE_URL": f"sqlite:///{file}"})
        migrate = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
        subprocess.run(migrate, cwd=ROOT, env=service.environment(), check=True)
        service.start()
        self.addCleanup(service.stop)
        with contextlib.closing(sqlite3.connect(file, timeout=20)) as link:
            name = "SELECT max(name) FROM django_migrations WHERE app = 'completions'"
            with link:
                link.execute(f"UPDATE django_migrations SET name = 'x' || name WHERE name = ({name})")
            answer = httpx2.get(f"{service.url}/readyz")
            self.assertEqual((answer.status_code, answer.json()), (503, {"status": "migrations not applied"}))
            self.assertEqual(httpx2.get(f"{service.url}/healthz").status_code, 200)
            with link:
                link.execute("UPDATE django_migrations SET name = substr(name, 2) WHERE name LIKE 'x%'")
        wait_until(lambda: httpx2.get(f"{service.url}/readyz").status_code == 200, what="green readiness")
