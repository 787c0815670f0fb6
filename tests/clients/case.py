"""The base class of tests that call the API with other people's programs, in the versions pinned beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from chatservice.testing import ServiceTestCase, needs_dialect
from conftest import CI

PROGRAMS = Path(__file__).parent / "programs"
# `make test` installs it, from requirements.txt and package-lock.json.
INSTALLED = Path(sys.prefix) / "clients"
MODEL = "fake/clever"
TIMEOUT = 100


def needs_clients() -> None:
    """Skip the calling module if the clients are not installed; fail if CI=true."""
    needs_dialect("openai_v1")
    if (INSTALLED / "node_modules" / "llmprobe").exists():
        return
    missing = f"needs the clients in {INSTALLED}: `make test` installs them"
    if CI:
        pytest.fail(f"{missing}, and CI=true promises them", pytrace=False)
    pytest.skip(missing, allow_module_level=True)


class ClientTestCase(ServiceTestCase):
    """`self.run_python` and `self.run_node` run a file of `programs/` as Alice, and return the JSON that it prints."""

    def run_python(self, name: str, *arguments: str) -> Any:
        return json.loads(self.run_client("python", str(PROGRAMS / name), *arguments))

    def run_node(self, name: str, *arguments: str) -> Any:
        # From standard input, so that packages are found in the working directory.
        source = (PROGRAMS / name).read_text()
        return json.loads(self.run_client("node", "--input-type=module", "-", *arguments, source=source))

    def run_client(self, command: str, *arguments: str, source: str | None = None, may_fail: bool = False) -> str:
        """Run an installed command and return what it prints; fail if it does and must not."""
        with tempfile.TemporaryDirectory() as home:
            environment = {
                "PATH": f"{INSTALLED / 'bin'}:{os.environ['PATH']}",
                "HOME": home,
                "OPENAI_BASE_URL": f"{self.service.url}/v1",
                "OPENAI_API_KEY": self.alice.secret,
                "OPENAI_AGENTS_DISABLE_TRACING": "1",
                "MODEL": MODEL,
            }
            done = subprocess.run(
                [str(INSTALLED / "bin" / command), *arguments],
                cwd=INSTALLED,
                env=environment,
                input=source,
                capture_output=True,
                text=True,
                timeout=TIMEOUT,
            )
        if not may_fail:
            self.assertEqual(done.returncode, 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
        return done.stdout
