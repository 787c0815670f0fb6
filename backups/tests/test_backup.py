"""A backup has what was acknowledged before it began, bit for bit, whatever is written meanwhile."""

from __future__ import annotations

import json
import os
import random
import stat
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock

import httpx2
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import override_settings

from accounts.models import User
from accounts.personal_data import export_account
from backups import taking
from backups.management.commands.backup import INCOMPLETE
from backups.manifest import FILES, read_manifest, read_sums, write_manifest
from chatservice.testing import ROOT, ApiUser, ServiceTestCase, needs_dialect, wait_until
from chatservice.testing.disks import fill, small_disk
from chatservice.tests.migrating import MigrationTestCase
from conversations.models import StoredUsage
from conversations.quota import fold
from files.holds import release_all_holds
from files.models import FileText

# What an export tells of the restored database: everything, but what requests themselves count.
READ = """
import json, sys
import django
django.setup()
from accounts.models import User
from accounts.personal_data import export_account
from completions.models import Run
from files.models import ContentChange
from search.queries import Mode, search_everybody
for user_id in sys.argv[1:3]:
    for line in export_account(User.objects.get(pk=user_id)):
        print(user_id, line, end="")
print("running", Run.objects.running().count())
print("holds", ContentChange.objects.holds().count())
print("hits", len(search_everybody("white whale", mode=Mode.TEXT).hits))
print("carol", *Run.objects.filter(user_id=sys.argv[3]).values_list("state", flat=True))
"""
COUNTED = {"accounts.ratewindow", "accounts.apikey", "accounts.apikeyuse"}
PNG = b"\x89PNG\r\n\x1a\n"


def setUpModule() -> None:
    needs_dialect("chat_v1", "openai_v1")


def backup(path: Path, *options: str) -> str:
    """Back up this test run's database. Other tests may have lost contents of files, which is not this one's matter."""
    out = StringIO()
    try:
        call_command("backup", str(path), "--quiet", *options, stdout=out)
    except CommandError as error:
        if error.returncode != INCOMPLETE:
            raise
    return out.getvalue()


def exported(lines: Iterator[str]) -> list[dict[str, Any]]:
    return [row for row in map(json.loads, lines) if row["model"] not in COUNTED]


class BackupTest(MigrationTestCase, ServiceTestCase):
    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory(prefix="backups-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def ask(self, user: ApiUser, content: str, model: str = "echo") -> str:
        with httpx2.Client(base_url=self.service.url, headers=user.headers, timeout=30, trust_env=False) as http:
            body = {"content": content, "model": model}
            return http.post("/v1/chat/conversations/stream", json=body).raise_for_status().text

    def upload(self, user: ApiUser, content: bytes) -> str:
        with httpx2.Client(base_url=self.service.url, headers=user.headers, timeout=30, trust_env=False) as http:
            sent = http.post("/v1/files", files={"file": ("a.txt", content)}, data={"purpose": "user_data"})
            return sent.raise_for_status().json()["id"]

    def delete(self, user: ApiUser, file_id: str) -> None:
        with httpx2.Client(base_url=self.service.url, headers=user.headers, timeout=30, trust_env=False) as http:
            http.delete(f"/v1/files/{file_id}").raise_for_status()

    @contextmanager
    def writing(self, user: ApiUser) -> Iterator[list[str]]:
        """Ask, upload and delete without a pause; yield what was acknowledged so far."""
        acknowledged: list[str] = []
        problems: list[BaseException] = []
        over = threading.Event()

        def write() -> None:
            try:
                while not over.is_set():
                    text = uuid.uuid4().hex
                    self.ask(user, text)
                    self.delete(user, self.upload(user, f"deleted {text}".encode()))
                    self.upload(user, text.encode())
                    acknowledged.append(text)
            except BaseException as error:
                problems.append(error)

        thread = threading.Thread(target=write)
        thread.start()
        try:
            wait_until(lambda: len(acknowledged) >= 3 or problems, what="the first answers")
            yield acknowledged
        finally:
            over.set()
            thread.join(60)
        self.assertEqual(problems, [])

    def manage(self, *arguments: str, env: dict[str, str], check: bool = True) -> subprocess.CompletedProcess[str]:
        environment = {**self.service.environment(), **env}
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        self.assertTrue(done.returncode == 0 or not check, done.stdout + done.stderr)
        return done

    def test_what_was_acknowledged_is_restored_bit_for_bit(self) -> None:
        self.ask(self.alice, "A white whale")
        self.upload(self.alice, PNG + os.urandom(200_000))
        self.quiesce(self.alice.user)
        before = exported(export_account(self.alice.user))
        slow = threading.Thread(target=self.ask, args=(self.carol, "Slowly", "fake/slow:20ms:600"))
        slow.start()
        with self.writing(self.bob) as acknowledged:
            first = list(acknowledged)
            path = self.folder / "backup"
            self.assertIn("Not included: settings", backup(path, "--verify"))
            wait_until(lambda: len(acknowledged) > len(first) + 1, what="answers during or after the backup")
        slow.join(60)
        self.assertEqual({stat.S_IMODE(each.stat().st_mode) for each in (path, path / FILES)}, {0o700})
        self.assertEqual({stat.S_IMODE(each.stat().st_mode) for each in path.rglob("*") if each.is_file()}, {0o600})
        self.assertEqual([each.name for each in self.folder.iterdir()], ["backup"], "no draft is left")

        with self.database() as (url, _):
            if connection.vendor == "sqlite":
                url = f"sqlite:///{self.folder / 'restored.sqlite3'}"
                (self.folder / "restored.sqlite3-wal").write_bytes(
                    Path(f"{connection.settings_dict['NAME']}-wal").read_bytes()
                )
            own = {"DATABASE_URL": url, "VAR_DIR": str(self.folder / "var")}
            told = self.manage("restore", str(path), env=own)
            self.assertIn("Restored", told.stdout)
            users = [str(user.user.pk) for user in (self.alice, self.bob, self.carol)]
            environment = {**self.service.environment(), **own, "DJANGO_SETTINGS_MODULE": "chatservice.settings"}
            lines = subprocess.run(
                [sys.executable, "-c", READ, *users], cwd=ROOT, env=environment, capture_output=True, text=True
            )
            self.assertEqual(lines.returncode, 0, lines.stderr)
            rows = [line.partition(" ") for line in lines.stdout.splitlines()]
            after = exported(text for user, _, text in rows if user == users[0])
            self.assertEqual(after, before)
            of_bob = "".join(text for user, _, text in rows if user == users[1])
            for text in first:
                self.assertIn(text, of_bob)
            told_by = {name: text for name, _, text in rows}
            self.assertEqual((told_by["running"], told_by["holds"]), ("0", "0"))
            self.assertEqual(told_by["carol"], "interrupted")
            self.assertGreater(int(told_by["hits"]), 0)
            again = self.manage("restore", str(path), env=own, check=False)
            self.assertIn("not empty", again.stderr)

    def quiesce(self, user: User) -> None:
        """Wait until everything that follows an answer by itself is stored: usage, texts of files."""
        usage = StoredUsage.objects.filter(owner_id=user.pk)
        wait_until(lambda: not fold() and usage.count() <= 1, what="the usage in one row")
        waiting = FileText.objects.waiting().filter(owner=user)
        wait_until(lambda: not waiting.exists(), what="the texts of files")

    def test_a_killed_backup_leaves_nothing_that_looks_whole(self) -> None:
        path = self.folder / "backup"
        command = [sys.executable, "manage.py", "backup", str(path), "--quiet"]
        process = subprocess.Popen(command, cwd=ROOT, env=self.service.environment(), stdout=subprocess.DEVNULL)
        wait_until(lambda: [*self.folder.glob(".backup.*.partial/*")] or process.poll() is not None, what="a draft")
        process.kill()
        process.wait()
        release_all_holds()  # that of the killed process would expire in an hour
        self.assertFalse(path.exists())
        [left] = self.folder.iterdir()
        self.assertTrue(left.name.endswith(taking.DRAFT))
        backup(path)
        self.assertEqual([each.name for each in self.folder.iterdir()], ["backup"], "what was left is removed")
        with self.assertRaisesMessage(CommandError, "exists"):
            call_command("backup", str(path), "--quiet")

    def test_the_password_is_on_no_command_line(self) -> None:
        if connection.vendor != "postgresql":
            self.skipTest("pg_dump")
        tools = self.folder / "bin"
        tools.mkdir()
        seen = self.folder / "seen"
        fake = tools / "pg_dump"
        major = connection.pg_version // 10_000
        fake.write_text(
            f'#!/bin/sh\n[ "$1" = --version ] && echo "pg_dump (PostgreSQL) {major}.0" && exit\n'
            f'echo "$@" > {seen}\n[ -n "$PGPASSWORD" ] && echo password >> {seen}\n'
            'echo "pg_dump: error: no" >&2\nexit 1\n'
        )
        fake.chmod(0o755)
        path = os.environ["PATH"]
        self.addCleanup(os.environ.__setitem__, "PATH", path)
        os.environ["PATH"] = f"{tools}:{path}"
        with self.assertRaisesMessage(CommandError, "pg_dump failed: pg_dump: error: no"):
            call_command("backup", str(self.folder / "backup"), "--quiet")
        arguments, given = seen.read_text().splitlines()
        self.assertEqual(given, "password")
        self.assertNotIn(str(connection.settings_dict["PASSWORD"]), arguments)
        self.assertEqual([*self.folder.glob("*backup*")], [])

    def test_secrets_that_differ_are_not_replaced(self) -> None:
        names = [self.folder / name for name in ("before", "now")]
        for folder in names:
            folder.mkdir()
        mine = f"SECRET_KEY={settings.SECRET_KEY}\nKEY_PEPPER={settings.KEY_PEPPER}\n"
        (names[0] / "secrets.env").write_text(mine)
        (names[1] / "secrets.env").write_text("SECRET_KEY=another\nKEY_PEPPER=another\n")
        path = self.folder / "backup"
        with override_settings(VAR_DIR=names[0]):
            self.assertNotIn("SECRET_KEY", backup(path, "--no-files"))
        self.assertEqual((path / "secrets.env").read_text(), mine)
        with override_settings(VAR_DIR=names[1]), self.assertRaisesMessage(CommandError, "has other secrets"):
            call_command("restore", str(path), "--clean", "--quiet")
        self.assertIn("another", (names[1] / "secrets.env").read_text())
        with override_settings(VAR_DIR=names[1]):
            self.assertIn("they are in the environment", backup(self.folder / "without"))
            self.assertIn("--no-secrets", backup(self.folder / "second", "--no-secrets"))
        elsewhere = {**settings.STORAGES, "files": {"BACKEND": "django.core.files.storage.InMemoryStorage"}}
        with override_settings(STORAGES=elsewhere):
            self.assertIn("in the storage InMemoryStorage, which", backup(self.folder / "elsewhere"))

    def test_a_flipped_bit_is_found(self) -> None:
        path = self.folder / "backup"
        self.upload(self.alice, os.urandom(1_000))
        backup(path)
        call_command("verify_backup", str(path), "--quiet", stdout=StringIO())
        for name in sorted({each.name: each for each in path.rglob("*") if each.is_file()}.values()):
            whole = name.read_bytes()
            at = random.randrange(len(whole))
            name.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << random.randrange(8)]) + whole[at + 1 :])
            with self.subTest(name=name, at=at), self.assertRaises(CommandError):
                call_command("verify_backup", str(path), "--quiet")
            name.write_bytes(whole)

    def test_a_backup_that_was_not_counted_right_is_found(self) -> None:
        """Checksums may agree and the rows not: what is counted is compared, too."""
        path = self.folder / "backup"
        backup(path, "--no-files")
        manifest, sums = read_manifest(path), read_sums(path)
        tables = {**manifest.tables, "accounts_user": manifest.tables["accounts_user"] + 1}
        write_manifest(path, replace(manifest, tables=tables), sums)
        with self.assertRaisesMessage(CommandError, "accounts_user has"):
            call_command("verify_backup", str(path), "--quiet")
        later = [*manifest.migrations, "accounts.9999_later"]
        write_manifest(path, replace(manifest, migrations=later, version="2099.1.0"), sums)
        with self.assertRaisesMessage(CommandError, "version 2099.1.0"):
            call_command("restore", str(path), "--clean", "--quiet")

    def test_a_full_disk_leaves_nothing(self) -> None:
        place = small_disk(self, 24)
        with (
            self.assertRaisesMessage(CommandError, "nothing was written"),
            mock.patch.object(taking, "SPARE_BYTES", 2**30),
        ):
            call_command("backup", str(place / "backup"), "--quiet")
        fill(place)
        with mock.patch.object(taking, "_check_space"), self.assertRaises(CommandError):
            call_command("backup", str(place / "backup"), "--quiet")
        self.assertEqual([each.name for each in place.iterdir()], ["filler"])
