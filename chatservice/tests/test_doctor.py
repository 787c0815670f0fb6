"""`manage.py doctor` finds what is broken, says how to mend it, and shows no secret."""

from __future__ import annotations

import datetime as dt
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from django.core.files.storage import storages
from django.db import connection
from django.test import override_settings
from django.utils import timezone

from accounts import seen_proxies
from accounts.fingerprints import KEY_PEPPER, store
from accounts.models import SecretFingerprint
from chatservice import doctor
from chatservice.doctor import diagnose
from chatservice.findings import Finding
from chatservice.testing import CLOSED_PORT, KeptTablesTestCase, fake_upstreams
from chatservice.tests.test_strict_start import StrictStartCase
from conversations.append_only import trigger_name
from conversations.models import AccessLogEntry
from foundation.ids import first_id_of
from search.models import PendingMessage

SECRET = "sk-geheim-hunter2"
KEYS = {"subject", "status", "message"}


@contextmanager
def refusing_upstream() -> Iterator[str]:
    """Yield the address of a server that accepts no key."""
    refusal = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    link, _ = server.accept()
                except OSError:  # the end of the block
                    return
                with link:
                    link.recv(65_536)
                    link.sendall(refusal)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        server.shutdown(socket.SHUT_RDWR)


class DoctorTest(KeptTablesTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.enterContext(override_settings(UPSTREAMS=json.loads(fake_upstreams()), REDIS_URL=""))
        store(KEY_PEPPER)
        self.path = seen_proxies._path()
        self.path.unlink(missing_ok=True)
        self.addCleanup(self.path.unlink, missing_ok=True)

    def found(self, subject: str) -> Finding:
        """Return what is found about a subject, in one line; no line shows a secret."""
        findings = diagnose()
        self.assertNotIn(SECRET, str(findings))
        [finding] = [each for each in findings if each.subject == subject]
        return finding

    def see(self, headers: dict[str, str]) -> None:
        with mock.patch.object(seen_proxies._noted, "seen", None):
            seen_proxies.note_headers(headers, secure=False)

    def test_a_healthy_installation_has_a_line_for_everything_and_none_that_is_not_ok(self) -> None:
        PendingMessage.objects.all().delete()
        findings = diagnose()
        self.assertEqual([each for each in findings if each.status != "ok"], [])
        subjects = [each.subject for each in findings]
        vectors = ["pgvector"] if connection.vendor == "postgresql" else []
        live = ["search index", "clock", "upstream fake", "upstream echo", "file storage", "proxies"]
        self.assertEqual(subjects, ["settings", "database", "migrations", "secrets", *vectors, *live])

    def test_an_upstream_that_refuses_the_key_and_one_that_is_not_there(self) -> None:
        with refusing_upstream() as refusing:
            nowhere = f"http://127.0.0.1:{CLOSED_PORT}/v1"
            upstreams = {"a": {"base_url": refusing, "api_key": SECRET}, "b": {"base_url": nowhere, "api_key": SECRET}}
            with override_settings(UPSTREAMS=upstreams):
                found = {each.subject: each for each in diagnose()}
        self.assertNotIn(SECRET, str(found))
        for name, mending in (("a", "correct api_key"), ("b", "correct base_url")):
            finding = found[f"upstream {name}"]
            self.assertEqual((finding.status, mending in finding.message), ("fail", True), finding)

    def test_a_storage_that_cannot_be_written_to(self) -> None:
        with mock.patch.object(storages["files"], "save", side_effect=PermissionError(SECRET)):
            found = self.found("file storage")
        self.assertEqual(found.status, "fail")
        self.assertIn("nothing can be stored (PermissionError)", found.message)

    def test_a_redis_that_is_away(self) -> None:
        with override_settings(REDIS_URL=f"redis://:{SECRET}@127.0.0.1:{CLOSED_PORT}/0"):
            found = self.found("redis")
        self.assertEqual((found.status, "correct REDIS_URL" in found.message), ("fail", True))

    def test_a_clock_that_is_not_the_databases(self) -> None:
        with mock.patch.object(doctor, "database_clock", return_value="(1.5)"):
            found = self.found("clock")
        self.assertEqual((found.status, "NTP" in found.message), ("warn", True))

    def test_an_index_that_nobody_works_at(self) -> None:
        ago = first_id_of(timezone.now() - dt.timedelta(hours=2))
        # Claimed, so that the indexer of the shared service does not take it.
        old = PendingMessage.objects.create(message_id=ago, owner_id=ago, claimed_until=time.time() + 600)
        self.addCleanup(old.delete)
        found = self.found("search index")
        self.assertEqual((found.status, "SEARCH_INDEXER=true" in found.message), ("warn", True))

    def test_what_the_checks_of_the_start_find_is_under_its_subject(self) -> None:
        kept = SecretFingerprint.objects.get(name=KEY_PEPPER)
        SecretFingerprint.objects.filter(pk=kept.pk).update(fingerprint="0" * 64)
        self.addCleanup(kept.save)
        with override_settings(DEFAULT_UPSTREAM="nope"):
            found = {each.subject: each for each in diagnose()}
        self.assertEqual((found["secrets"].status, found["settings"].status), ("fail", "fail"))
        self.assertIn("accept_key_pepper", found["secrets"].message)
        self.assertIn("DEFAULT_UPSTREAM", found["settings"].message)

    def test_proxies_that_the_settings_do_not_know(self) -> None:
        sent = {"x-forwarded-for": "192.0.2.1, 10.0.0.1", "x-forwarded-proto": "http", "host": "chat.example.org"}
        self.see(sent)
        found = self.found("proxies")
        self.assertEqual((found.status, "TRUSTED_PROXIES is 0" in found.message), ("warn", True), found)
        self.assertNotIn("192.0.2.1", self.path.read_text())
        with override_settings(TRUSTED_PROXIES=2):
            self.assertEqual(self.found("proxies").status, "ok")
        with override_settings(TRUSTED_PROXIES=3):
            self.assertIn("TRUSTED_PROXIES is 3", self.found("proxies").message)
        self.see(sent | {"x-forwarded-proto": "https"})
        self.assertIn("HTTPS=true", self.found("proxies").message)

    def test_the_access_log_without_its_trigger(self) -> None:
        self.assertTrue(trigger_name(AccessLogEntry._meta.db_table))
        with mock.patch("conversations.checks.trigger_name", return_value="none_of_that_name"):
            self.assertEqual(self.found("access log").status, "fail")


class CommandTest(StrictStartCase):
    def test_wrong_settings_a_missing_database_and_missing_tables_end_with_1(self) -> None:
        away = f"postgres://chat:{SECRET}@127.0.0.1:{CLOSED_PORT}/chat"
        for env, subject, told in (
            ({"DEFAULT_MODLE": "x"}, "settings", "DEFAULT_MODLE"),
            ({"DATABASE_URL": away}, "database", "refused"),
            ({"OPENAI_API_KEY": ""}, "migrations", "run `manage.py migrate`"),
        ):
            with self.subTest(subject):
                done = self.run_python("manage.py", "doctor", "--json", **env)
                self.assertEqual(done.returncode, 1, done.stderr)
                self.assertNotIn("Traceback", done.stderr)
                self.assertNotIn(SECRET, done.stdout + done.stderr)
                findings = json.loads(done.stdout)
                self.assertTrue(all(set(each) == KEYS for each in findings))
                [failed] = [each for each in findings if each["status"] == "fail"]
                self.assertEqual((failed["subject"], told in failed["message"]), (subject, True), failed)

    def test_a_healthy_one_ends_with_0_and_a_line_for_each_subject(self) -> None:
        self.migrate()
        done = self.run_python("manage.py", "doctor")
        self.assertEqual(done.returncode, 0, done.stdout)
        for line in done.stdout.splitlines():
            self.assertRegex(line, r"^ok +\w+( \w+)? +\S")
        self.assertTrue(Path(self.directory / "chat.sqlite3").exists())
