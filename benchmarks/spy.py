"""Profiles a competitor under load with py-spy (from .venv-bench): which functions use the time."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.competitors import Running
from benchmarks.processes import ROOT
from benchmarks.runner import Runner
from scripts import procfs

TOP = 45
# The frames that start the server's event loop say nothing about the time used in it.
SCAFFOLD = re.compile(
    r"^(thread|_run_code|_run_module|<module>)|\((granian|uvicorn|daphne|click|multiprocessing|threading)\b"
)
MEASURES = ("streams", "plain", "held")
HELD = 300


def look_into(runner: Runner, names: list[str], *, seconds: float) -> None:
    """Print where each competitor spends its time: floods, requests that are not streamed, many slow answers."""
    spy = ROOT / ".venv-bench" / "bin" / "py-spy"
    if not spy.exists():
        raise SystemExit("py-spy is not installed (--install-peers)")
    for name in names:
        target = runner.start(name)
        runner.warm_up([target], seconds=1.0)
        for what in MEASURES:
            with tempfile.TemporaryDirectory() as directory:
                raw = Path(directory) / "raw"
                spying = subprocess.Popen(
                    _command(spy, target, raw, seconds), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
                if what == "held":
                    runner.measure(target, what, "paced-20ms-400", clients=HELD, ramp=1.0)
                else:
                    runner.measure(target, what, "flood-200", clients=64, seconds=seconds + 1.0)
                spying.wait(30)
                print(f"\n## {name}, {what}\n\n{_summary(raw.read_text())}", flush=True)
        if target.process:
            target.process.stop()


def _command(spy: Path, target: Running, raw: Path, seconds: float) -> list[str]:
    # Granian's worker is a child process: profile the busiest process of the tree.
    pid = max(procfs.tree(target.pid), key=lambda one: procfs.cpu_seconds([one]))
    # Only threads that hold the interpreter lock: the many waiting threads would hide the others.
    options = ["--format", "raw", "--rate", "100", "--gil", "--threads", "--nonblocking"]
    return [str(spy), "record", "--pid", str(pid), "--duration", str(int(seconds)), *options, "--output", str(raw)]


def _summary(raw: str) -> str:
    """Return self and cumulative shares by function from py-spy's raw stacks, without idle threads."""
    own: Counter[str] = Counter()
    inside: Counter[str] = Counter()
    threads: Counter[str] = Counter()
    total = 0
    for line in raw.splitlines():
        stack, _, samples = line.rpartition(" ")
        # Line numbers are removed, so that each function is one row.
        frames = [frame.rsplit(":", 1)[0] + ")" if ":" in frame else frame for frame in stack.split(";")]
        total += int(samples)
        # "thread (123): name"; the names of pool threads contain a number.
        threads[re.sub(r"thread \(\w+\):? ?|[-_]\d+$", "", stack.split(";")[0]) or "main"] += int(samples)
        own[frames[-1]] += int(samples)
        for frame in set(frames):
            inside[frame] += int(samples)
    rows = [", ".join(f"{name} {count / total:.0%}" for name, count in threads.most_common(6)) + f" of {total} samples"]
    rows += ["", "| self | with callees | function |", "|---|---|---|"]
    for frame, count in own.most_common(TOP):
        rows.append(f"| {count / total:.1%} | {inside[frame] / total:.1%} | {frame} |")
    rows += ["", "| with callees | function |", "|---|---|"]
    inner = [(frame, count) for frame, count in inside.most_common(3 * TOP) if not SCAFFOLD.search(frame)]
    rows += [f"| {count / total:.1%} | {frame} |" for frame, count in inner[:TOP]]
    return "\n".join(rows)
