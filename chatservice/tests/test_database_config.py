"""DATABASE_URL: every option is either applied or refused, and our own options survive."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import quote

from django.test import SimpleTestCase

from chatservice.database_config import database_from_url
from chatservice.testing import ROOT
from chatservice.tests.database_servers import postgres_with_tls
from scripts.postgres import postgres

OURS = {
    "statement_timeout": "10s",
    "lock_timeout": "3s",
    "idle_in_transaction_session_timeout": "8s",
    "jit": "off",
}
ASK = """
import django; django.setup()
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute(
        "SELECT ssl, current_setting('application_name'), current_setting('statement_timeout'), "
        "current_setting('lock_timeout') FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    )
    print(*cursor.fetchone(), sep="|")
"""


def parsed(url: str) -> dict[str, Any]:
    return database_from_url(url, base=ROOT, pool={"max_size": 3}, sqlite_pragmas="PRAGMA a=b;")


class PostgresAddressTest(SimpleTestCase):
    def test_without_options_ours_count(self):
        database = parsed("postgres://chat:secret@db.example.org:5433/store")
        self.assertEqual(
            {name: database[name] for name in ("NAME", "USER", "PASSWORD", "HOST", "PORT", "CONN_MAX_AGE")},
            {
                "NAME": "store",
                "USER": "chat",
                "PASSWORD": "secret",
                "HOST": "db.example.org",
                "PORT": "5433",
                "CONN_MAX_AGE": 0,
            },
        )
        self.assertEqual(
            database["OPTIONS"],
            {
                "connect_timeout": "5",
                "tcp_user_timeout": "6000",
                "keepalives_idle": "5",
                "keepalives_interval": "1",
                "keepalives_count": "3",
                "session_settings": OURS,
                "pool": {"max_size": 3},
            },
        )

    def test_options_of_the_address_reach_the_driver_and_win(self):
        options = parsed("postgres://u@h/n?sslmode=verify-full&sslrootcert=%2Fca.pem&connect_timeout=9")["OPTIONS"]
        self.assertEqual(
            (options["sslmode"], options["sslrootcert"], options["connect_timeout"]), ("verify-full", "/ca.pem", "9")
        )

    def test_session_settings_are_merged_and_the_later_one_wins(self):
        asked = r"-c lock_timeout=1s --statement-timeout=60s -csearch_path=a,\ b"
        options = parsed(f"postgres://u@h/n?options={quote(asked, safe='')}")["OPTIONS"]
        self.assertEqual(
            options["session_settings"],
            {**OURS, "statement_timeout": "60s", "lock_timeout": "1s", "search_path": "a, b"},
        )

    def test_libpqs_own_variables_are_not_overwritten_by_our_defaults(self):
        with mock.patch.dict(os.environ, {"PGOPTIONS": "-c work_mem=8MB", "PGCONNECT_TIMEOUT": "7"}):
            options = parsed("postgres://u@h/n")["OPTIONS"]
        self.assertEqual(options["session_settings"], {**OURS, "work_mem": "8MB"})
        self.assertNotIn("connect_timeout", options)

    def test_every_way_to_write_an_address(self):
        for url, host, port, name in (
            ("postgresql://u:p@%2Fvar%2Frun%2Fpostgresql:5433/n", "/var/run/postgresql", "5433", "n"),
            ("postgres:///n?host=/tmp", "/tmp", "", "n"),
            ("psql://u@one:1,two:2/n", "one,two", "1,2", "n"),
            ("pgsql://u@[::1]:5432/a%20b", "::1", "5432", "a b"),
        ):
            database = parsed(url)
            self.assertEqual((database["HOST"], database["PORT"], database["NAME"]), (host, port, name), url)

    def test_what_is_wrong_is_said_in_one_sentence_without_the_password(self):
        for url, sentence in (
            ("postgres://u:hunter2@h/n?sslmod=require", "has an unknown option 'sslmod'. Did you mean 'sslmode'?"),
            ("postgres://u:hunter2@h/n?CONN_MAX_AGE=60", "has an unknown option 'CONN_MAX_AGE'."),
            ("postgres://u:hunter2@h/n?client_encoding=latin1", "has an unknown option 'client_encoding'."),
            ("postgres://u:hunter2@h/n?sslmode=", "has no value for the option 'sslmode'."),
            ("postgres://u:hunter2@h/n?sslmode", "has no value for the option 'sslmode'."),
            ("postgres://u:hunter2@h/n?sslmode=require&sslmode=disable", "has the option 'sslmode' twice."),
            ("postgres://u:hunter2@h/n?options=fast", "has 'options' that cannot be read"),
            ("postgres://u:hunter2@h", "names no database"),
            ("postgres://u:hunter2/x@h/n", "has no usable host and port"),
            ("postgres://u:x@hunter2@h/n", "has no usable host and port"),
            ("postgres://u:hunter2%zz@h/n", "cannot be read"),
            ("mysql://u:hunter2@h/n", "must begin with postgres:// or sqlite:///."),
            ("hunter2", "must begin with postgres:// or sqlite:///."),
        ):
            with self.subTest(url), self.assertRaises(ValueError) as raised:
                parsed(url)
            self.assertIn(sentence, str(raised.exception))
            self.assertNotIn("hunter2", str(raised.exception))


class SqliteAddressTest(SimpleTestCase):
    def test_its_options_count_too(self):
        with tempfile.TemporaryDirectory() as directory:
            database = parsed(f"sqlite:///{directory}/chat.sqlite3?timeout=3&init_command=PRAGMA+mmap_size%3D0")
            self.assertEqual(database["NAME"], str(Path(directory).resolve() / "chat.sqlite3"))
        self.assertEqual(
            database["OPTIONS"],
            {"transaction_mode": "IMMEDIATE", "timeout": 3.0, "init_command": "PRAGMA a=b; PRAGMA mmap_size=0"},
        )

    def test_a_relative_path_starts_at_the_service(self):
        self.assertEqual(parsed("sqlite:///chat.sqlite3")["NAME"], str(ROOT / "chat.sqlite3"))
        self.assertEqual(parsed("sqlite:///a+b%3F.sqlite3")["NAME"], str(ROOT / "a+b?.sqlite3"))

    def test_what_would_be_ignored_is_refused(self):
        for url, sentence in (
            ("sqlite://chat.sqlite3", "names a host"),
            ("sqlite:///chat.sqlite3?mode=ro", "has an unknown option 'mode'."),
            ("sqlite:///chat.sqlite3?time_out=3", "Did you mean 'timeout'?"),
            ("sqlite:///chat.sqlite3?timeout=soon", "not a number of seconds"),
            ("sqlite:////nowhere/at/all/chat.sqlite3", "needs /nowhere/at/all to exist."),
            ("sqlite:////tmp", "which is a directory."),
        ):
            with self.subTest(url), self.assertRaises(ValueError) as raised:
                parsed(url)
            self.assertIn(sentence, str(raised.exception))


class RealServerTest(SimpleTestCase):
    """What the database server reports about a connection made with a given address."""

    def ask(self, url: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "chatservice.settings"}
        return subprocess.run([sys.executable, "-c", ASK], cwd=ROOT, env=environment, capture_output=True, text=True)

    def test_a_server_that_has_tls(self):
        with postgres_with_tls() as (url, authority):
            checked = self.ask(
                f"{url}?sslmode=verify-full&sslrootcert={authority}&application_name=seen"
                "&options=-c%20lock_timeout%3D1s"
            )
            self.assertEqual(checked.stdout, "True|seen|10s|1s\n", checked.stderr)
            plain = self.ask(f"{url}?sslmode=disable")
            self.assertEqual(plain.stdout, "False||10s|3s\n", plain.stderr)
            # With an untrusted certificate authority there must be no connection, rather than an unverified one.
            stranger = self.ask(f"{url}?sslmode=verify-full&sslrootcert=system")
            self.assertEqual((stranger.stdout, stranger.returncode == 0), ("", False))

    def test_a_server_that_has_none(self):
        with postgres() as url:
            wanted = self.ask(f"{url}?sslmode=require&connect_timeout=3")
            self.assertEqual((wanted.stdout, wanted.returncode == 0), ("", False))
            either = self.ask(f"{url}?sslmode=prefer")
            self.assertEqual(either.stdout, "False||10s|3s\n", either.stderr)
