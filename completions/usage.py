"""What somebody used: answers and tokens, by day and model."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from accounts.principal import Principal
from completions.services import runs_of

MOST_RUNS = 200_000


@dataclass(slots=True)
class Used:
    """One model on one day (UTC). A run without figures from the model's server counts as a run alone."""

    day: dt.date
    model: str
    runs: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


def usage_of(principal: Principal, *, since: dt.datetime) -> list[Used]:
    """Return what `principal` used since then, the newest day first; of their newest 200,000 answers. Database."""
    runs = runs_of(principal).filter(created_at__gte=since).order_by("-pk")[:MOST_RUNS]
    found: dict[tuple[dt.date, str], Used] = {}
    # Added up here: what a model's server sends as usage is its own affair, and may be no number at all.
    for created_at, model, state, usage in runs.values_list("created_at", "model", "state", "usage").iterator():
        day = created_at.astimezone(dt.UTC).date()
        used = found.setdefault((day, model), Used(day, model))
        used.runs += 1
        used.failed += state in ("failed", "interrupted")
        used.prompt_tokens += _tokens(usage, "prompt_tokens")
        used.completion_tokens += _tokens(usage, "completion_tokens")
    return sorted(found.values(), key=lambda used: (-used.day.toordinal(), used.model))


def _tokens(usage: Any, name: str) -> int:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else 0
