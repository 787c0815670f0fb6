"""The package `mcp`, which is large, is not loaded by a service that nobody asks for it."""

from __future__ import annotations

import subprocess
import sys

from django.conf import settings
from django.test import SimpleTestCase

PROGRAM = """
import sys
import django
django.setup()
import chatservice.urls
print([name for name in ("mcp", "mcp_types", "starlette", "chatservice.dialects.mcp.tools") if name in sys.modules])
"""


class ImportTest(SimpleTestCase):
    def test_it_is_imported_at_the_first_request(self) -> None:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], cwd=settings.BASE_DIR, capture_output=True, text=True, timeout=60
        )
        self.assertEqual(done.stdout.strip(), "['chatservice.dialects.mcp.tools']", done.stderr)
