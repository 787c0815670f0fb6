"""Many slow answers at once: `python -m benchmarks.held --only service-uvicorn-sqlite --steps 500,1500 --pace 50`.

A token arrives alone every 20 ms, or as `--pace` says, so each one wakes the server. That is the opposite of a flood,
and closer to real use.
"""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks import report
from benchmarks.options import add_common, chosen, extra_environment, write_json
from benchmarks.runner import Runner

PACE, SECONDS = 20, 8
"""Milliseconds between two tokens of an answer, and how long it takes."""
RAMP_SECONDS = 2.0
# The goals for 500 concurrent answers.
MAX_GAP_P99_MS = 250.0
MAX_KILOBYTES = 100.0


def hold(runner: Runner, name: str, count: int, *, pace: int = PACE) -> dict[str, Any]:
    """Hold `count` concurrent answers on a fresh server; return the measure, including memory per stream."""
    target = runner.start(name)
    try:
        # Load code and pools first; otherwise their memory would be attributed to the streams.
        runner.measure(target, "streams", "paced-5ms-4", clients=16, seconds=1.0)
        runner.measure(target, "held", "paced-5ms-4", clients=16, ramp=0.2)
        result = runner.measure(
            target, "held", f"paced-{pace}ms-{1_000 * SECONDS // pace}", clients=count, ramp=RAMP_SECONDS, timeout=90.0
        )
        grown = (result.get("memory_peak") or 0) - (result.get("memory_before") or 0)
        result |= {"name": name, "count": count, "kilobytes": grown / 1024 / count, "memory": runner.memory(target)}
        result["late_ms"] = runner.upstream_late_ms()
        result["ok"] = (
            not result["faulty"]
            and result["good"] == count
            and result.get("gap_ms", {}).get("p99", 1e9) < MAX_GAP_P99_MS
            and result["kilobytes"] < MAX_KILOBYTES
        )
        return result
    finally:
        if target.process:
            target.process.stop()


def steps(
    runner: Runner, names: list[str], counts: list[int], *, stop_at_limit: bool = True, pace: int = PACE
) -> list[dict[str, Any]]:
    """Hold each count on each competitor; a competitor that fails one step skips the higher ones."""
    results = []
    for name in names:
        for count in counts:
            result = hold(runner, name, count, pace=pace)
            results.append(result)
            print(report.held_line(result), flush=True)
            if stop_at_limit and not result["ok"]:
                break
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_common(parser)
    parser.add_argument("--steps", default="250,500,750,1000", help="answers held at once, one step after the other")
    parser.add_argument("--all-steps", action="store_true", help="go on after a step that missed its limits")
    parser.add_argument("--pace", type=int, default=PACE, metavar="MS", help="milliseconds between two tokens")
    given = parser.parse_args()
    names, litellm = chosen(given, default="direct,service-granian-sqlite,service-granian-postgres,relay")
    with Runner(litellm=litellm, extra=extra_environment(given)) as runner:
        print(report.HELD_HEAD, flush=True)
        counts = [int(count) for count in given.steps.split(",")]
        results = steps(runner, names, counts, stop_at_limit=not given.all_steps, pace=given.pace)
    write_json(given, {"machine": report.machine(), "held": results})


if __name__ == "__main__":
    main()
