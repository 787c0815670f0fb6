"""The clients in the Chatbot API document run as printed, except for address and key."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile

import pytest

from chatservice.testing import ServiceTestCase, needs_dialect, tried_once
from scripts.documents import OPENAI_JAVASCRIPT as JAVASCRIPT
from scripts.documents import OPENAI_PYTHON as PYTHON


@tried_once
class PrintedClientTest(ServiceTestCase):
    def run_client(self, program: str, *command: str, suffix: str) -> subprocess.CompletedProcess[str]:
        program = program.replace("http://localhost:8000", self.service.url)
        program = program.replace("your_api_key_here", self.alice.secret)
        with tempfile.NamedTemporaryFile("w", suffix=suffix) as file:
            file.write(program)
            file.flush()
            return subprocess.run([*command, file.name], capture_output=True, text=True, timeout=30)

    def test_the_python_client_prints_the_answer(self):
        done = self.run_client(PYTHON, sys.executable, suffix=".py")
        self.assertIn("You wrote:\n\nTell me a joke", done.stdout)
        # The printed client parses every line that begins with `data: `, but the last one is `[DONE]`, which is not
        # JSON.
        self.assertIn("JSONDecodeError", done.stderr)
        self.assertNotIn("KeyError", done.stderr)
        self.assertNotIn("IndexError", done.stderr)

    def test_the_javascript_client_prints_the_answer(self):
        node = shutil.which("node")
        if node is None:
            if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
                pytest.fail("needs node, and CI=true promises one", pytrace=False)
            pytest.skip("needs node to run the printed JavaScript client")
        assert node is not None
        done = self.run_client(JAVASCRIPT, node, suffix=".mjs")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        words = done.stdout.replace("\n", "")
        self.assertIn("You wrote:Tell me a joke", words)
        self.assertNotIn("undefined", done.stdout)

    def test_the_key_without_a_space_is_for_this_surface_only(self):
        header = {"Authorization": f"bearer{self.alice.secret}"}
        self.assertEqual(self.guest.get("/v1/models", headers=header).status_code, 200)
        self.assertEqual(
            self.guest.get("/v1/models", headers={"Authorization": "beareryour_api_key_here"}).status_code, 401
        )
        self.assertEqual(self.guest.get("/v1/models").status_code, 401)
        needs_dialect("chat_v1")
        self.assertEqual(self.guest.get("/v1/chat/conversations", headers=header).status_code, 401)
