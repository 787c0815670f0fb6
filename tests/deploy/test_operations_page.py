"""docs/operations.md, which `make deploy-check` runs: its commands are shell, and what they name exists."""

from __future__ import annotations

import re
import subprocess

from django.test import SimpleTestCase

from chatservice import settings
from chatservice.testing import ROOT
from tests.deploy.operations_page import HEREDOC, blocks


class OperationsPageTest(SimpleTestCase):
    def test_its_commands_are_shell(self):
        for section, text in blocks():
            done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
            self.assertEqual((done.returncode, done.stderr), (0, ""), section)

    def test_what_it_names_exists(self):
        whole = "\n".join(text for _, text in blocks())
        files = set(re.findall(r"/opt/chat/(deploy/[\w./*-]+)", whole))
        self.assertGreaterEqual(len(files), 5)
        for path in files:
            self.assertTrue(list(ROOT.glob(path)), path)
        names = {name for part in HEREDOC.findall(whole) for name in re.findall(r"^([A-Z_]+)=", part, re.MULTILINE)}
        self.assertIn("OIDC_ISSUER", names)
        self.assertLessEqual(names, settings.env.names)
        units = {path.name for path in (ROOT / "deploy" / "systemd").iterdir()}
        for unit in re.findall(r"\b(chat[@-][\w.]+)", whole):
            name = re.sub(r"@\d+$", "@.service", unit)
            if name.endswith((".service", ".timer")) and not name.endswith(".d"):
                self.assertIn(name, units)
