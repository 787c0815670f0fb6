"""Reads the cost of processes from /proc: CPU seconds and resident memory of a process and its children (Linux)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def _fields(pid: int) -> list[str] | None:
    """Return the fields of /proc/<pid>/stat from the state on; None if the process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def tree(pid: int) -> list[int]:
    """Return `pid` and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (fields := _fields(int(entry))):
            children.setdefault(int(fields[1]), []).append(int(entry))
    found = [pid]
    for one in found:  # the list grows while it is walked
        found += children.get(one, [])
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return user and system time of `pids` and of those of their children that have ended."""
    ticks = 0
    for pid in pids:
        if fields := _fields(pid):
            ticks += sum(int(value) for value in fields[11:15])
    return ticks / TICKS


def resident_bytes(pids: Iterable[int]) -> int:
    """Return the total resident memory of `pids`; shared pages count for each of them."""
    pages = 0
    for pid in pids:
        try:
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except OSError:
            continue
    return pages * PAGE


def peak_bytes(pids: Iterable[int]) -> int:
    """Return the sum of the highest resident memory that each of `pids` ever had."""
    total = 0
    for pid in pids:
        try:
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    total += int(line.split()[1]) * 1024
        except OSError:
            continue
    return total


def machine_busy_seconds() -> float:
    """Return the total CPU seconds that this machine has spent since it started."""
    values = [int(value) for value in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(values) - values[3] - values[4]) / TICKS  # all except idle and iowait


@dataclass(frozen=True, slots=True)
class Spent:
    """CPU seconds between two readings, by role; `foreign` is the rest of the machine, which is not measured."""

    wall: float
    by_role: dict[str, float]
    foreign: float


class Watch:
    """Measures the CPU time of the processes that take part, by role (server, database, upstream), until `stop`."""

    def __init__(self, roles: dict[str, int]) -> None:
        self.roles = {**{role: pid for role, pid in roles.items() if pid}, "load": os.getpid()}
        self.before = self._read()
        self.busy = machine_busy_seconds()
        self.began = time.perf_counter()

    def _read(self) -> dict[str, float]:
        return {role: cpu_seconds(tree(pid)) for role, pid in self.roles.items()}

    def stop(self) -> Spent:
        """Return the CPU seconds spent since this object was made."""
        wall = time.perf_counter() - self.began
        busy = machine_busy_seconds() - self.busy
        spent = {role: value - self.before[role] for role, value in self._read().items()}
        return Spent(wall, spent, max(0.0, busy - sum(spent.values())))
