"""Settings of the whole server process, checked in a process that starts like the service but accepts no requests."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile

from django.test import SimpleTestCase

from chatservice.testing import ROOT, Service
from foundation.internals import interpreter

START = """
import gc, json, resource, sys
from unittest import mock
from chatservice import server

def report(self):
    most = resource.getrlimit(resource.RLIMIT_NOFILE)
    print(json.dumps({
        "switch": sys.getswitchinterval(),
        "frozen": gc.get_freeze_count(),
        "walked": len(gc.get_objects()),
        "thresholds": gc.get_threshold(),
        "enabled": gc.isenabled(),
        "heaps": share_heaps.call_count,
        "files": most[0] == most[1],
    }), flush=True)

with mock.patch.object(server.Server, "run", report), mock.patch.object(server, "share_heaps") as share_heaps:
    server.main()
"""


class ProcessSettingsTest(SimpleTestCase):
    def test_the_interpreter_and_its_memory_are_set_before_anything_is_served(self):
        with tempfile.TemporaryDirectory() as directory:
            env = {**Service().environment(), "DATABASE_URL": "", "VAR_DIR": directory}
            done = subprocess.run(
                [sys.executable, "-c", START],
                cwd=ROOT,
                env=env,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        self.assertEqual(done.returncode, 0, done.stderr)
        found = json.loads(done.stdout)
        self.assertAlmostEqual(found["switch"], interpreter.SWITCH_SECONDS)
        self.assertGreater(found["frozen"], 100_000)
        self.assertLess(found["walked"], 20_000)
        self.assertEqual(tuple(found["thresholds"]), interpreter.THRESHOLDS)
        self.assertTrue(found["enabled"] and found["files"])
        self.assertEqual(found["heaps"], 1)
