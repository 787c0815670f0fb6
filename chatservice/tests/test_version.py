"""The version has one source, `chatservice.__version__`. Other tests cover /healthz and the OpenAPI documents."""

from __future__ import annotations

import re
import subprocess
import sys

from django.test import SimpleTestCase

from chatservice import __version__
from chatservice.testing import ROOT


class VersionTest(SimpleTestCase):
    def run_python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60)

    def test_the_server_and_serve_print_it(self):
        for command in (("-m", "chatservice.server"), ("manage.py", "serve")):
            with self.subTest(command):
                done = self.run_python(*command, "--version")
                self.assertEqual((done.returncode, done.stdout), (0, f"chatservice {__version__}\n"), done.stderr)

    def test_the_server_refuses_an_argument_that_it_does_not_know(self):
        done = self.run_python("-m", "chatservice.server", "--port=8001")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("--port=8001", done.stderr)

    def test_it_is_a_year_a_month_and_a_number(self):
        self.assertRegex(__version__, r"\A20\d\d\.(1[0-2]|[1-9])\.\d+\Z")

    def test_the_changelog_begins_with_it(self):
        changelog = (ROOT / "CHANGELOG.md").read_text()
        self.assertEqual(re.findall(r"^## ([\d.]+)", changelog, re.MULTILINE)[:1], [__version__])
