"""A backup that is taken in the middle, verified and restored: everything acknowledged before it is in it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import psycopg

from chatservice.testing import ROOT, Service
from tests.chaos.readers import Reader
from tests.chaos.verdict import Verdict
from tests.soak.servers import Database

SELECT = """
SELECT r.id::text, r.state, q.content, m.content FROM completions_run r
JOIN conversations_message m ON m.id = r.message_id JOIN conversations_message q ON q.id = m.parent_id
"""


class Known(NamedTuple):
    """What a client knew of an acknowledged question when the backup began."""

    run_id: str
    prompt: str
    text: str
    is_complete: bool


@dataclass
class Backup:
    """`home` is an empty folder for the backup and for what it is restored to."""

    database: Database
    home: Path
    known: list[Known] = field(default_factory=list)

    async def take(self, seen: Sequence[Reader], verdict: Verdict) -> None:
        self.known = [
            Known(each.run_id, each.prompt, each.text, each.ended == "complete" and not each.untold)
            for each in seen
            if each.acknowledged and each.run_id
        ]
        await self._manage(verdict, "backup", str(self.home / "backup"), "--quiet")

    async def judge(self, verdict: Verdict) -> None:
        """Verify the backup, restore it into a new database, and look for what was acknowledged."""
        await self._manage(verdict, "verify_backup", str(self.home / "backup"))
        url = self.database.create("restored")
        environment = {"DATABASE_URL": url, "VAR_DIR": str(self.home / "var")}
        if not await self._manage(verdict, "restore", str(self.home / "backup"), "--quiet", **environment):
            return
        with psycopg.connect(url) as link:
            rows = {run_id: rest for run_id, *rest in link.execute(SELECT)}
        for each in self.known:
            verdict.rounds += 1
            state, question, answer = rows.get(each.run_id, ("", "", ""))
            verdict.expect(question == each.prompt, f"{each.prompt}, run {each.run_id}: not in the backup")
            verdict.expect(answer.startswith(each.text), f"{each.prompt}: shown, and not in the backup")
            whole = not each.is_complete or (state, answer) == ("complete", each.text)
            verdict.expect(whole, f"{each.prompt}: complete, and {state} in the backup")
        verdict.facts["answers in it"] += len(rows)

    async def _manage(self, verdict: Verdict, command: str, *arguments: str, **env: str) -> bool:
        environment = Service(env={"DATABASE_URL": self.database.url, **env}).environment()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "manage.py", command, *arguments),
            cwd=ROOT,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        verdict.expect(process.returncode == 0, f"{command} ended with {process.returncode}: {output.decode()[-2000:]}")
        return process.returncode == 0
