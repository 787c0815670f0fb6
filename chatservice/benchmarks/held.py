"""Many slow answers at once: `python -m chatservice.benchmarks.held --only service-granian-sqlite --steps 250,500`.

A token every 20 ms arrives alone, so every one wakes the server: the opposite of a flood, and what real use is like.
"""

from __future__ import annotations

import argparse
from typing import Any

from chatservice.benchmarks import report
from chatservice.benchmarks.arena import Arena
from chatservice.benchmarks.options import add_common, chosen, extra_environment, write_json

MODEL = "paced-20ms-400"
RAMP_SECONDS = 2.0
# What the issue promises for 500 answers at once.
MAX_GAP_P99_MS = 250.0
MAX_KILOBYTES = 100.0


def hold(arena: Arena, name: str, count: int) -> dict[str, Any]:
    """Hold `count` answers at once on a fresh server and return the measure, memory per stream in it."""
    target = arena.start(name)
    try:
        # Code and pools are loaded first, else their memory would count as the streams'.
        arena.measure(target, "streams", "paced-5ms-4", clients=16, seconds=1.0)
        arena.measure(target, "held", "paced-5ms-4", clients=16, ramp=0.2)
        result = arena.measure(target, "held", MODEL, clients=count, ramp=RAMP_SECONDS, timeout=90.0)
        grown = (result.get("memory_peak") or 0) - (result.get("memory_before") or 0)
        result |= {"name": name, "count": count, "kilobytes": grown / 1024 / count, "memory": arena.memory(target)}
        result["late_ms"] = arena.upstream_late_ms()
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


def steps(arena: Arena, names: list[str], counts: list[int], *, stop_at_limit: bool = True) -> list[dict[str, Any]]:
    """Hold each count on each contestant; a contestant that fails a step is spared the higher ones."""
    results = []
    for name in names:
        for count in counts:
            result = hold(arena, name, count)
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
    given = parser.parse_args()
    names, litellm = chosen(given, default="direct,service-granian-sqlite,service-granian-postgres,relay")
    with Arena(litellm=litellm, extra=extra_environment(given)) as arena:
        print(report.HELD_HEAD, flush=True)
        counts = [int(count) for count in given.steps.split(",")]
        results = steps(arena, names, counts, stop_at_limit=not given.all_steps)
    write_json(given, {"machine": report.machine(), "held": results})


if __name__ == "__main__":
    main()
