"""Whether the memory of the processes stays flat."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from statistics import median

from tests.chaos.cluster import Process
from tests.chaos.verdict import Verdict

PAUSE = 5.0
LONG = 600.0
"""Only a process that lived for so many seconds is judged: before that, pools and caches fill up."""
SHARE, BYTES = 0.10, 20e6
"""The last quarter of its life may have this share, or this much, more than the second quarter."""


@dataclass
class Memory:
    samples: dict[int, list[int]] = field(default_factory=dict)
    """Resident bytes every `PAUSE` seconds, by the id of the process."""

    async def keep_looking(self, processes: list[Process]) -> None:
        while True:
            for each in processes:
                if each.ready:
                    self.samples.setdefault(each.pid, []).append(each.resident())
            await asyncio.sleep(PAUSE)

    def judge(self, verdict: Verdict) -> None:
        for pid, samples in self.samples.items():
            quarter = len(samples) // 4
            if not quarter:
                continue
            before, after = median(samples[quarter : 2 * quarter]), median(samples[-quarter:])
            told = f"process {pid}: {before / 1e6:.0f} MB, {after / 1e6:.0f} MB in the end"
            if len(samples) * PAUSE < LONG:
                verdict.facts["processes that lived too shortly to be judged"] += 1
            else:
                verdict.rounds += 1
                verdict.expect(after - before <= max(SHARE * before, BYTES), told)
            verdict.notes.append(f"{before / 1e6:.0f} → {after / 1e6:.0f} MB in {len(samples) * PAUSE:.0f} s")
