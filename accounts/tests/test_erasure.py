"""What was deleted does not stay in SQLite's log, even if another process copies the log at the same time."""

from __future__ import annotations

import subprocess
import sys
import uuid
from pathlib import Path
from unittest import skipUnless

from django.db import connection

from accounts.erasure import truncate_write_ahead_log
from accounts.services import register_user
from chatservice.testing import KeptTablesTestCase, stop_shared_service

# Holds the lock of SQLite's checkpoints, a byte of the file `-shm`, for half a second.
CHECKPOINT = """
import fcntl, sys, time
with open(sys.argv[1], "r+b") as shared:
    fcntl.lockf(shared, fcntl.LOCK_EX, 1, 121)
    print("locked", flush=True)
    time.sleep(0.5)
"""


@skipUnless(connection.vendor == "sqlite", "SQLite's write-ahead log")
class WriteAheadLogTest(KeptTablesTestCase):
    def test_it_is_emptied_once_another_checkpoint_is_over(self):
        stop_shared_service()  # its requests would write to the log again
        register_user(username=f"alice-{uuid.uuid4().hex[:12]}")
        name = str(connection.settings_dict["NAME"])
        log = Path(f"{name}-wal")
        self.assertGreater(log.stat().st_size, 0)
        command = [sys.executable, "-c", CHECKPOINT, f"{name}-shm"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            self.assertEqual(other.stdout.readline(), b"locked\n")
            with self.assertNoLogs("accounts.erasure"):
                truncate_write_ahead_log()
        self.assertEqual(log.stat().st_size, 0)
