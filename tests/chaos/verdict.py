"""The result of a scenario: how often a promise was tested and broken, and the slowest case."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

MAX_SHOWN = 10


@dataclass
class Verdict:
    """`times` are the measured seconds that the promise bounds; `facts` report what was really exercised."""

    promise: str
    rounds: int = 0
    violations: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    facts: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def broken(self, text: str) -> None:
        self.violations.append(text)

    def expect(self, truth: object, text: str) -> None:
        if not truth:
            self.broken(text)

    def percentile(self, share: float) -> float:
        times = sorted(self.times)
        return times[min(len(times) - 1, int(len(times) * share))] if times else 0.0

    @property
    def worst(self) -> str:
        if not self.times:
            return "-"
        return f"{max(self.times):.2f} s (p99 {self.percentile(0.99):.2f} s)"


def table(verdicts: Iterable[Verdict]) -> str:
    """Return the table that `make chaos` prints."""
    lines = ["| promise | rounds | violations | worst time | exercised |", "|---|---|---|---|---|"]
    for each in verdicts:
        facts = [f"{count} {name}" for name, count in sorted(each.facts.items())] + each.notes
        lines.append(
            f"| {each.promise} | {each.rounds:,} | {len(each.violations)} | {each.worst} | {', '.join(facts)} |"
        )
    return "\n".join(lines)


def complaints(verdicts: Iterable[Verdict]) -> str:
    lines = []
    for each in verdicts:
        lines += [f"{each.promise}: {text}" for text in each.violations[:MAX_SHOWN]]
        if len(each.violations) > MAX_SHOWN:
            lines.append(f"{each.promise}: and {len(each.violations) - MAX_SHOWN} more")
    return "\n".join(lines)
