"""A start that cannot do what its configuration says exits with 2 and one sentence per problem, without a traceback."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import httpx2
from django.test import SimpleTestCase

from chatservice import settings
from chatservice.testing import CLOSED_PORT, ROOT, Service, free_port

SERVER = ("-m", "chatservice.server")
SERVE = ("manage.py", "serve")
# All commands behave alike, so these stand for them: one only reads settings, the others use the database.
COMMANDS = (("manage.py", "list_models"), ("manage.py", "create_user", "alice"), ("manage.py", "migrate"))


@cache
def migrated() -> bytes:
    """Return a SQLite file to which all migrations were applied."""
    with tempfile.TemporaryDirectory() as directory:
        own = {"VAR_DIR": directory, "DATABASE_URL": "", "SQLITE_SYNCHRONOUS": "OFF"}
        environment = {**os.environ, "ENV_FILE": os.devnull, **own}
        command = [sys.executable, "manage.py", "migrate", "--verbosity=0"]
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
        return (Path(directory) / "chat.sqlite3").read_bytes()


class StrictStartCase(SimpleTestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)

    def environment(self, **env: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in settings.env.names}
        own = {
            "VAR_DIR": str(self.directory),
            "DATABASE_URL": "",
            "SEARCH_EMBEDDER": "hashing",
            "SQLITE_SYNCHRONOUS": "OFF",
        }
        return {**kept, **own, "ENV_FILE": os.devnull, "PORT": str(free_port()), **env}

    def run_python(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=self.environment(**env),
            capture_output=True,
            text=True,
            timeout=60,
        )

    def migrate(self) -> None:
        """Put a fully migrated database where the service looks for it."""
        (self.directory / "chat.sqlite3").write_bytes(migrated())

    def refused(self, *arguments: str, **env: str) -> list[str]:
        """Run Python, which must refuse to start; return the lines of its stderr."""
        done = self.run_python(*arguments, **env)
        self.assertEqual(done.returncode, 2, f"{arguments} {env}\n{done.stdout}{done.stderr}")
        self.assertNotIn("Traceback", done.stderr)
        return done.stderr.splitlines()


class WrongSettingsTest(StrictStartCase):
    def test_every_wrong_value_and_name_is_told_at_once_by_the_server_and_by_commands(self):
        wrong = {
            "HTTPS": "ja",
            "ANONYMOUS": "nobody",
            "DEFAULT_MODLE": "gpt-4o",
            "TRUSTED_PROXIES": "-1",
            "LIMIT_BODY_BYTES": "-5",
            "PORT": "70000",
            "RUN_SECONDS": "0",
            "LOG_LEVEL": "LOUD",
            "UPSTREAMS": "{'local': 1}",
            "OPENAI_BASE_URL": "127.0.0.1:11434",
            "ALLOWED_HOSTS": "https://chat.example.org",
            "SECRET_KEY": "too-short-9",
            "DATABASE_URL": "postgres://u:hunter2@h/n?sslmod=require",
            "SQLITE_SYNCHRONOUS": "FULL; DROP TABLE x",
        }
        for arguments in (SERVER, SERVE, *COMMANDS):
            with self.subTest(arguments):
                lines = self.refused(*arguments, **wrong)
                self.assertEqual(len(lines), len(wrong), lines)
                for name in wrong:
                    self.assertEqual(len([line for line in lines if line.startswith(f"error: {name} ")]), 1, lines)
                self.assertNotIn("hunter2", str(lines))
                self.assertNotIn("too-short", str(lines))

    def test_a_lease_outlasts_a_late_heartbeat(self):
        for wrong in (
            {"HEARTBEAT_SECONDS": "20"},
            {"LEASE_SECONDS": "5"},
            {"LEASE_SECONDS": "1", "HEARTBEAT_SECONDS": "30"},
        ):
            self.assertEqual(
                self.refused(*SERVER, **wrong),
                [
                    "error: HEARTBEAT_SECONDS must be at most a third of LEASE_SECONDS, "
                    "or a late heartbeat ends running answers."
                ],
            )

    def test_what_can_be_no_host_no_time_and_no_header(self):
        wrong = {
            "ALLOWED_HOSTS": '["a"]',
            "HOST": '"127.0.0.1"',
            "URL_PREFIX": "https://example.org/chat",
            "CORS_ALLOWED_ORIGINS": "https://app.example.org/",
            "CURRENCY": "dollars",
            "IDEMPOTENCY_DAYS": "1e20",
            "RETENTION_GUEST_EMPTY_HOURS": "1e20",
            "SWEEP_SECONDS": "1e20",
            "STAFF_REASON_SECONDS": "1" + "0" * 400,
            "OPENAI_API_KEY": "sk-geheim-ä",
            "EMBEDDINGS_API_KEY": "sk-geheim\nX: y",
            "OPENAI_BASE_URL": "http://127.0.0.1:99999/v1",
            "WEBHOOK_NETWORKS": "10.0.0.7/8",
        }
        lines = self.refused(*SERVER, **wrong)
        self.assertEqual(sorted(line.split()[1] for line in lines), sorted(wrong))
        self.assertNotIn("geheim", str(lines))
        self.assertEqual(len(self.refused(*SERVER, HOST="a b")), 1)

    def test_an_env_file_with_an_unknown_name(self):
        file = self.directory / "chat.env"
        file.write_bytes(b"\xef\xbb\xbfexport ANONYMUS='off'\r\nDEBUG=nein\r\n")
        self.assertEqual(
            self.refused(*SERVER, ENV_FILE=str(file)),
            [
                "error: DEBUG must be true or false, not 'nein'.",
                f"error: {file}, line 1: ANONYMUS is not a setting of this service. Did you mean ANONYMOUS?",
            ],
        )

    def test_what_system_checks_find(self):
        self.migrate()
        wrong = {"SEARCH_LANGUAGE": "klingon", "DEFAULT_UPSTREAM": "nope", "REDIS_URL": "redis://h/0?sockettimeout=1"}
        wrong["UPSTREAMS"] = '{"a": {"base_url": "http://127.0.0.1:1", "modles": ["x"]}}'
        text = "\n".join(self.refused(*SERVER, **wrong))
        command = "\n".join(self.refused("manage.py", "list_models", **wrong))
        for sentence in (
            "SEARCH_LANGUAGE 'klingon' is not a language",
            "DEFAULT_UPSTREAM names 'nope', which is not in UPSTREAMS.",
            "REDIS_URL has an unknown option 'sockettimeout'.",
            "UPSTREAMS, 'a': 'modles' is not an option",
        ):
            self.assertIn(sentence, command)
            self.assertRegex(text, f"(?m)^error: {re.escape(sentence)}")

    def test_a_directory_that_cannot_be_made(self):
        (self.directory / "file").touch()
        [line] = self.refused(*SERVER, VAR_DIR=str(self.directory / "file" / "var"))
        self.assertTrue(line.startswith("error: VAR_DIR: the directory "), line)


class AddressTest(StrictStartCase):
    def test_where_it_cannot_listen(self):
        self.migrate()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            for reason, env in (
                ("Address already in use", {"PORT": port, "HOST": " 127.0.0.1 "}),
                ("Cannot assign requested address", {"PORT": port, "HOST": "192.0.2.1"}),
            ):
                expected = (
                    f"error: HOST, PORT: the service cannot listen on {env['HOST'].strip()}, port {port}: {reason}."
                )
                self.assertEqual(self.refused(*SERVER, **env), [expected])
        for host in ("nowhere.invalid", "x" * 70, "a..b"):
            [line] = self.refused(*SERVER, HOST=host)
            self.assertTrue(line.startswith(f"error: HOST, PORT: the service cannot listen on {host}, port "), line)


class DatabaseTest(StrictStartCase):
    def test_one_that_cannot_be_reached_is_one_sentence(self):
        url = f"postgres://chat:hunter2@127.0.0.1:{CLOSED_PORT}/chat"
        for arguments in (SERVER, SERVE, *COMMANDS[1:]):
            lines = self.refused(*arguments, DATABASE_URL=url)
            self.assertEqual(len(lines), 1, lines)
            self.assertTrue(lines[0].startswith("error: DATABASE_URL: the database cannot be used: "), lines)
            self.assertIn("refused", lines[0])
            self.assertNotIn("hunter2", lines[0])

    def test_a_file_that_is_no_database(self):
        file = self.directory / "chat.sqlite3"
        file.write_text("something else entirely, and long enough to be looked at" * 30)
        for arguments in (SERVER, *COMMANDS[1:]):
            [line] = self.refused(*arguments, DATABASE_URL=f"sqlite:///{file}")
            self.assertEqual(line, "error: DATABASE_URL: the database cannot be used: file is not a database")

    def test_a_directory_with_any_name_holds_one(self):
        directory = self.directory / "a+b 100%?#"
        self.assertEqual(self.run_python("manage.py", "migrate", "--plan", VAR_DIR=str(directory)).returncode, 0)
        self.assertTrue((directory / "chat.sqlite3").exists())

    def test_unapplied_migrations_are_named(self):
        [line] = self.refused(*SERVER)
        self.assertRegex(line, r"^error: The database lacks \d+ migrations \(.*…\): run `manage.py migrate`\.$")
        self.migrate()
        self.assertEqual(self.run_python("manage.py", "migrate", "completions", "0005").returncode, 0)
        query = "from completions.models import Run; Run.objects.first()"
        for arguments in (SERVER, ("manage.py", "shell", "-c", query)):
            [line] = self.refused(*arguments)
            self.assertRegex(line, r"\(completions\.\d+_")


class SecretsOfTheDatabaseTest(StrictStartCase):
    def served(self, **env: str) -> Service:
        """Return a service that became ready and was then stopped."""
        service = Service(env={**self.environment(), **env}, port=free_port())
        service.env = {**service.env, "PORT": str(service.port)}
        self.addCleanup(service.stop)
        service.start()
        self.assertEqual(httpx2.get(f"{service.url}/healthz").status_code, 200)
        self.assertEqual(service.stop(), 0)
        return service

    def test_another_pepper_is_refused_until_it_is_accepted(self):
        right, other = {"KEY_PEPPER": "right" * 10}, {"KEY_PEPPER": "other" * 10}
        secret = {"SECRET_KEY": "secret" * 10}
        self.migrate()
        self.served(**right, **secret)
        for arguments in (SERVER, SERVE):
            text = "\n".join(self.refused(*arguments, **other, **secret))
            self.assertIn("KEY_PEPPER is not the one that the API keys in this database were created with", text)
            self.assertNotIn("right" * 3, text)
            self.assertNotIn("other" * 3, text)
        stored = (self.directory / "chat.sqlite3").read_bytes()
        self.assertNotIn(b"right" * 3, stored)
        accepted = self.run_python("manage.py", "accept_key_pepper", **other)
        self.assertIn("0 API keys were created under the former one", accepted.stdout)
        self.served(**other, **secret)

    def test_no_key_is_made_under_another_pepper(self):
        right, other = {"KEY_PEPPER": "right" * 10}, {"KEY_PEPPER": "other" * 10}
        self.migrate()
        self.assertEqual(self.run_python("manage.py", "create_user", "alice", **right).returncode, 0)
        self.assertEqual(self.run_python("manage.py", "create_api_key", "alice", **right).returncode, 0)
        [line] = self.refused("manage.py", "create_api_key", "alice", **other)
        self.assertTrue(line.startswith("error: KEY_PEPPER is not the one"), line)
        # The server refuses, too: creating the first key already fixed the pepper.
        [line] = self.refused(*SERVER, **other)
        self.assertIn("KEY_PEPPER is not the one", line)
        accepted = self.run_python("manage.py", "accept_key_pepper", **other)
        self.assertIn("1 API keys were created under the former one", accepted.stdout)

    def test_another_secret_key_is_a_warning_once(self):
        pepper = {"KEY_PEPPER": "pepper" * 10}
        self.migrate()
        self.assertNotIn("SECRET_KEY", self.served(**pepper, SECRET_KEY="first" * 10).log())
        self.assertIn(
            "warning: SECRET_KEY has changed since the last start",
            self.served(**pepper, SECRET_KEY="second" * 10).log(),
        )
        self.assertNotIn("SECRET_KEY", self.served(**pepper, SECRET_KEY="second" * 10).log())
