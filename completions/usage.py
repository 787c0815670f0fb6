"""A caller's usage: answers and tokens, by day and model."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from accounts.callers import Principal
from completions.models import Run

MAX_RUNS = 200_000


@dataclass(slots=True)
class Used:
    """The usage of one model on one day (UTC). A run whose upstream sent no usage counts no tokens."""

    day: dt.date
    model: str
    runs: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


def usage_of(principal: Principal, *, since: dt.datetime) -> list[Used]:
    """Return the usage since `since`, newest day first, from the newest 200,000 answers. Uses the database."""
    runs = Run.objects.visible_to(principal).filter(created_at__gte=since).order_by("-pk")[:MAX_RUNS]
    found: dict[tuple[dt.date, str], Used] = {}
    rows = runs.values_list("created_at", "model", "state", "input_tokens", "output_tokens")
    for created_at, model, state, asked, answered in rows.iterator():
        day = created_at.astimezone(dt.UTC).date()
        used = found.setdefault((day, model), Used(day, model))
        used.runs += 1
        used.failed += state in ("failed", "interrupted")
        used.prompt_tokens += asked or 0
        used.completion_tokens += answered or 0
    return sorted(found.values(), key=lambda used: (-used.day.toordinal(), used.model))
