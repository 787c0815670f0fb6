"""Commands on a database that nobody migrated yet say so in one sentence, on both databases."""

from __future__ import annotations

import os
import subprocess
import sys

from chatservice.testing import ROOT
from chatservice.tests.migrating import MigrationTestCase

# One sets something, one reads first, one begins a transaction.
COMMANDS = (("create_api_key", "alice"), ("import_history", "pytest.ini", "--user", "alice"), ("recount_storage",))


class NoTablesTest(MigrationTestCase):
    def test_a_command_says_what_to_run_first(self):
        with self.database() as (url, _):
            environment = {**os.environ, "ENV_FILE": os.devnull, "DATABASE_URL": url}
            for command in COMMANDS:
                done = subprocess.run(
                    [sys.executable, "manage.py", *command], cwd=ROOT, env=environment, capture_output=True, text=True
                )
                self.assertEqual(
                    (done.returncode, done.stderr.splitlines()[-1:], "Traceback" in done.stderr),
                    (2, ["error: The database has no tables yet: run manage.py migrate first."], False),
                    done.stderr,
                )
