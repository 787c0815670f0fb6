"""Compares this service with its peers in one run: `python -m benchmarks.streaming`.

Each round covers all competitors before the next begins, so a slow minute of the machine affects all of them alike.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
from typing import Any

from benchmarks import held, report, spy
from benchmarks.competitors import Running
from benchmarks.options import add_common, chosen, extra_environment, write_json
from benchmarks.processes import NotStarted
from benchmarks.runner import Runner

CLIENTS = 64
FLOODS = ("flood-200", "noisy-200")
FIRST = "paced-5ms-4"


def one_round(
    runner: Runner, targets: list[Running], *, flood: str, seconds: float, questions: int
) -> dict[str, dict[str, Any]]:
    """Return {competitor: {streams, plain, first}} of one round; each measure runs on all competitors in turn.

    Only this service has `responses`, measured right after `streams`, with which they are compared.
    """
    measured: dict[str, dict[str, Any]] = {target.name: {} for target in targets}
    for target in targets:
        measured[target.name]["streams"] = runner.measure(target, "streams", flood, clients=CLIENTS, seconds=seconds)
        note(target, "streams", measured[target.name]["streams"])
        if target.name.startswith("service-"):
            result = runner.measure(target, "responses", flood, clients=CLIENTS, seconds=seconds)
            measured[target.name]["responses"] = result
            note(target, "responses", result)
    for target in targets:
        measured[target.name]["plain"] = runner.measure(target, "plain", FLOODS[0], clients=CLIENTS, seconds=seconds)
        note(target, "plain", measured[target.name]["plain"])
    for target in targets:
        measured[target.name]["first"] = runner.measure(target, "first", FIRST, clients=1, count=questions)
        note(target, "first", measured[target.name]["first"])
    return measured


def note(target: Running, what: str, result: dict[str, Any]) -> None:
    """Print progress, and the reasons for failures, to stderr."""
    figure = f"{result['first_ms'].get('p50', 0):.2f} ms" if what == "first" else f"{result['rate']:,.0f}/s"
    foreign = 100 * result["foreign"] / result["seconds"]
    print(f"  {target.name:26} {what:8} {figure:>12}   others' CPU {foreign:.0f}%", file=sys.stderr, flush=True)
    if result["faulty"]:
        print(f"    ERRORS {result['faults']} e.g. {result['example'][:200]!r}", file=sys.stderr, flush=True)


def summary(name: str, rounds: list[dict[str, dict[str, Any]]], memory: dict[str, int]) -> dict[str, Any]:
    """Return one competitor's medians over all rounds."""
    mine = [one[name] for one in rounds]

    def median(values: list[float]) -> float | None:
        return statistics.median(values) if values else None

    answered = [one for one in mine if "responses" in one]

    def per_token(role: str, what: str = "streams") -> float | None:
        floods = [one[what] for one in mine if what in one]
        return median([1e6 * f["cpu"][role] / f["tokens"] for f in floods if f["tokens"] and role in f["cpu"]])

    def added(percentile: str) -> float | None:
        own = [one["first"]["first_ms"] for one in mine]
        direct = [one.get("direct", {}).get("first", {}).get("first_ms") for one in rounds]
        return median([a[percentile] - b[percentile] for a, b in zip(own, direct, strict=True) if a and b])

    return {
        "name": name,
        "streams": median([one["streams"]["rate"] for one in mine]),
        "responses": median([one["responses"]["rate"] for one in answered]),
        # Of each round's own streams: the machine is another one a minute later.
        "responses_share": median(
            [one["responses"]["rate"] / one["streams"]["rate"] for one in answered if one["streams"]["rate"]]
        ),
        "responses_cpu_us": per_token("server", "responses"),
        "plain": median([one["plain"]["rate"] for one in mine]),
        "cpu_us": per_token("server"),
        "database_us": per_token("database"),
        "plain_cpu_us": median(
            [
                1e6 * one["plain"]["cpu"]["server"] / one["plain"]["good"]
                for one in mine
                if one["plain"]["good"] and "server" in one["plain"]["cpu"]
            ]
        ),
        "first_p50": added("p50"),
        "first_p95": added("p95"),
        "memory": memory,
        "errors": sum(one[what]["faulty"] for one in mine for what in one),
        # Other processes' load, as a share of both cores. Above about a tenth, the run was disturbed: repeat it.
        "foreign": max(one[what]["foreign"] / one[what]["seconds"] for one in mine for what in ("streams", "plain")),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_common(parser)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one measure (default 5)")
    parser.add_argument("--rounds", type=int, default=3, help="the medians of so many rounds count (default 3)")
    parser.add_argument("--flood", choices=FLOODS, default=FLOODS[0], help="noisy: padded like OpenAI's chunks")
    parser.add_argument("--quick", action="store_true", help="one round of 2 s and 250 held: to see where one stands")
    parser.add_argument("--held", default="500", metavar="N,...", help="answers held at once; 0 leaves it out")
    parser.add_argument("--held-only", metavar="NAME,...", help="competitors that hold (default: those measured)")
    parser.add_argument("--profile", type=float, metavar="SECONDS", help="py-spy them instead of measuring")
    given = parser.parse_args()
    if given.quick:
        given.seconds, given.rounds = 2.0, 1
    names, litellm = chosen(given, default="*")
    with Runner(litellm=litellm, extra=extra_environment(given)) as runner:
        if given.profile:
            spy.look_into(runner, [name for name in names if name != "direct"], seconds=given.profile)
            return
        targets = []
        for name in names:
            print(f"starting {name}", file=sys.stderr, flush=True)
            try:
                targets.append(runner.start(name))
            except NotStarted as problem:  # measure the other competitors all the same
                print(f"{name} is left out: {problem}", file=sys.stderr, flush=True)
        names = [target.name for target in targets]
        runner.warm_up(targets, seconds=1.0)
        rounds = []
        for number in range(given.rounds):
            print(f"round {number + 1} of {given.rounds}", file=sys.stderr, flush=True)
            rounds.append(
                one_round(
                    runner, targets, flood=given.flood, seconds=given.seconds, questions=60 if given.quick else 200
                )
            )
        medians = [summary(target.name, rounds, runner.memory(target)) for target in targets]
        for target in targets:
            if target.process:
                target.process.stop()
        command = f"python -m benchmarks.streaming {shlex.join(sys.argv[1:])}".strip()
        print(report.table(medians, command=command), flush=True)
        counts = [int(count) for count in given.held.split(",") if int(count)]
        held_names = given.held_only.split(",") if given.held_only else [name for name in names if name != "litellm"]
        results: list[dict[str, Any]] = []
        if counts:
            print(f"\n{report.HELD_HEAD}", flush=True)
            results = held.steps(runner, held_names, counts)
    print("\n" + report.verdict(medians, results), flush=True)
    write_json(given, {"machine": report.machine(), "medians": medians, "rounds": rounds, "held": results})


if __name__ == "__main__":
    main()
