"""The contents of the dashboard, in order. Computed at most once a minute in each process."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db import OperationalError

from completions.models import Run
from dashboard import figures
from dashboard.charts import Chart, Series
from search.indexer import backlog

logger = logging.getLogger(__name__)

KEPT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Ranking:
    """The most frequent values, as a table with bars: `rows` are name, count, share of the first in percent."""

    title: str
    rows: list[tuple[str, int, int]]


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    facts: list[tuple[str, Any]]
    charts: list[Chart]
    rankings: list[Ranking]


_lock = threading.Lock()
_kept: tuple[float, list[Section]] = (0.0, [])


def sections() -> list[Section]:
    """Return the figures, up to KEPT_SECONDS old. One request computes them, the others wait for it."""
    global _kept
    with _lock:
        if _kept[0] < time.monotonic():
            _kept = (time.monotonic() + KEPT_SECONDS, compute())
        return _kept[1]


def forget() -> None:
    """Drop the cache, so that both today's figures and past ones are computed again."""
    global _kept
    _kept = (0.0, [])
    figures.forget()


def compute() -> list[Section]:
    parts = {"Use": _use, "Speed": _speed, "Errors": _errors, "Search": _search}
    return [_guarded(title, part) for title, part in parts.items()]


def _guarded(title: str, part: Callable[[], Section]) -> Section:
    """Compute one part. If it takes longer than the database allows, the other parts are still shown."""
    try:
        return part()
    except OperationalError as error:
        logger.warning("dashboard: %s: %s", title, type(error).__name__)
        return Section(title, [("Not available", "the database took too long")], [], [])


def _use() -> Section:
    days = figures.days()
    conversations, messages = figures.started_conversations(), figures.messages()
    asked, answered = figures.tokens()
    facts = [
        ("Conversations in 30 days", _total(conversations)),
        ("Messages", _total(messages)),
        ("Tokens", _total([*asked, *answered])),
        ("Answers in progress", Run.objects.running().count()),
        ("Questions waiting for an answer before them", Run.objects.queued().count()),
    ]
    charts = [
        Chart("Conversations per day", "conversations", days, [Series("started", conversations)]),
        Chart("Messages per day", "messages", days, [Series("stored", messages)]),
        Chart(
            *("Tokens per day", "tokens", days, [Series("asked", asked), Series("answered", answered)]),
            note="As reported by the models' servers.",
        ),
    ]
    return Section("Use", facts, charts, [])


def _speed() -> Section:
    charts = []
    for title, column in (
        ("Time to the first token", "first_token_at"),
        ("Time to the complete answer", "finished_at"),
    ):
        middle, slow = figures.times_to(column)
        series = [Series("p50", middle), Series("p95", slow)]
        charts.append(Chart(title, "ms", figures.days(), series, kind="lines", note="Within 5 %."))
    return Section("Speed", [], charts, [])


def _errors() -> Section:
    kinds = (("Errors by code", "error_code"), ("Errors by model", "model"), ("Errors by user", "user__username"))
    return Section("Errors", [], [], [_ranking(title, figures.errors_by(name)) for title, name in kinds])


def _search() -> Section:
    middle, slow, count = figures.search_times()
    facts = [("Searches in 30 days", f"{count:,}"), ("Messages waiting for the index", f"{backlog():,}")]
    series = [Series("p50", middle), Series("p95", slow)]
    chart = Chart("Search time", "ms", figures.days(), series, kind="lines", note="Within 5 %.")
    return Section("Search", facts, [chart], [])


def _total(values: figures.Row) -> str:
    return f"{sum(value or 0 for value in values):,.0f}"


def _ranking(title: str, rows: list[tuple[str, int]]) -> Ranking:
    most = rows[0][1] if rows else 1
    return Ranking(title, [(name, count, round(100 * count / most)) for name, count in rows])
