"""First-run secrets: created once, readable only by their owner; placeholders are refused."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from django.test import SimpleTestCase

from chatservice.first_run import make_secrets, read_secrets
from chatservice.testing import ROOT

MAKE = "import sys; from pathlib import Path; from chatservice.first_run import make_secrets as r; "
MAKE += "print(sorted(r(Path(sys.argv[1])).items()))"


class SecretsTest(SimpleTestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name) / "var"
        self.path = self.directory / "secrets.env"

    def mode(self, path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    def test_they_are_made_once_and_only_the_owner_may_read_them(self):
        first = make_secrets(self.directory)
        self.assertEqual(set(first), {"SECRET_KEY", "KEY_PEPPER"})
        self.assertTrue(all(len(value) >= 48 for value in first.values()))
        self.assertNotEqual(first["SECRET_KEY"], first["KEY_PEPPER"])
        self.assertEqual((self.mode(self.path), self.mode(self.path.parent)), (0o600, 0o700))
        self.assertEqual(make_secrets(self.directory), first)
        self.assertEqual([path.name for path in self.path.parent.iterdir()], ["secrets.env"])

    def test_reading_the_settings_makes_nothing(self):
        read = "from chatservice import settings; print(settings.SECRETS_ARE_MISSING, settings.SECRET_KEY)"
        clean = {name: value for name, value in os.environ.items() if name not in ("SECRET_KEY", "KEY_PEPPER")}
        clean |= {"VAR_DIR": str(self.directory), "ENV_FILE": os.devnull}
        done = subprocess.run([sys.executable, "-c", read], cwd=ROOT, env=clean, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout.split()), (0, ["True"]), done.stderr)
        self.assertFalse(self.directory.exists())
        self.assertEqual(read_secrets(self.directory), {})

    def test_a_secret_that_is_configured_stays_when_the_other_is_made(self):
        script = "import django; from django.conf import settings; from chatservice import startup; "
        script += (
            "startup.load_settings(); startup.prepare_first_run(); print(settings.SECRET_KEY, settings.KEY_PEPPER)"
        )
        file = self.directory.parent / "env"
        file.write_text("SECRET_KEY=" + "s" * 48)
        clean = {name: value for name, value in os.environ.items() if name not in ("SECRET_KEY", "KEY_PEPPER")}
        clean |= {
            "VAR_DIR": str(self.directory),
            "ENV_FILE": str(file),
            "DJANGO_SETTINGS_MODULE": "chatservice.settings",
        }
        done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=clean, capture_output=True, text=True)
        self.assertEqual(done.stdout.split(), ["s" * 48, make_secrets(self.directory)["KEY_PEPPER"]], done.stderr)

    def test_an_open_umask_opens_nothing(self):
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        make_secrets(self.directory)
        self.assertEqual(self.mode(self.path), 0o600)

    def test_processes_that_start_together_agree(self):
        def start(_: int) -> str:
            done = subprocess.run(
                [sys.executable, "-c", MAKE, str(self.directory)], cwd=ROOT, capture_output=True, text=True, check=True
            )
            return done.stdout

        with ThreadPoolExecutor(6) as threads:
            told = set(threads.map(start, range(6)))
        self.assertEqual(told, {f"{sorted(make_secrets(self.directory).items())}\n"})

    def test_what_a_crashed_start_left_behind_is_no_hindrance(self):
        self.path.parent.mkdir()
        self.path.with_name(f".secrets.env.{os.getpid()}").write_text("half")
        self.assertEqual(set(make_secrets(self.directory)), {"SECRET_KEY", "KEY_PEPPER"})

    def test_threads_that_start_together_agree(self):
        with ThreadPoolExecutor(8) as threads:
            told = list(threads.map(lambda _: make_secrets(self.directory), range(8)))
        self.assertTrue(all(each == told[0] for each in told))

    def test_a_placeholder_is_refused_and_not_repeated(self):
        placeholders = (
            "your_secret_key_here_with_enough_length_to_pass",
            "changeme" * 6,
            "django-insecure-" + "x" * 40,
        )
        for secret in (*placeholders, "too-short-9"):
            done = subprocess.run(
                [sys.executable, "manage.py", "check"],
                cwd=ROOT,
                env={**os.environ, "SECRET_KEY": secret, "KEY_PEPPER": "x" * 48, "VAR_DIR": str(self.path.parent)},
                capture_output=True,
                text=True,
            )
            self.assertNotEqual(done.returncode, 0, secret)
            self.assertIn("SECRET_KEY must be a secret", done.stderr)
            self.assertNotIn(secret, done.stderr)
