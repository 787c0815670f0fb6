"""The contents of the dashboard, in order. Computed at most once a minute in each process."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from django.db import OperationalError

from completions.models import Run
from dashboard import figures, now
from dashboard.charts import Chart, Series
from dashboard.now import Alarm, Target
from foundation.admin_links import list_of
from foundation.kept import Kept
from search.indexer import backlog

logger = logging.getLogger(__name__)

KEPT_SECONDS = 60
RUNS = "completions.view_run"


@dataclass(frozen=True, slots=True)
class Ranking:
    """The most frequent values, as a table with bars: `rows` are name, count, share of the first in percent, page."""

    title: str
    rows: list[tuple[str, int, int, Any]]


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page, for who has `permission`. Pages are Targets here, and addresses or "" once it `is_shown`."""

    title: str
    facts: list[tuple[str, Any, Any]] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    rankings: list[Ranking] = field(default_factory=list)
    alarms: list[Any] | None = None
    permission: str = RUNS

    @property
    def slug(self) -> str:
        return "-".join(self.title.lower().split())


def sections(user: Any) -> list[Section]:
    """Return all figures that a user may see, up to KEPT_SECONDS old."""
    return shown_to(user, [*_now.get(), *_figures.get()])


def sections_of_now(user: Any) -> list[Section]:
    """Return the first ones alone: what is wrong, what was spent and who is active."""
    return shown_to(user, _now.get())


def counting_since() -> dt.date | None:
    """Return the first day from which on all is counted, while earlier ones are not."""
    first = figures.first_counted()
    return first if first > figures.days()[0] else None


def shown_to(user: Any, found: list[Section]) -> list[Section]:
    """Leave out what a user may not see, and links to pages that are closed to the user."""

    def opened(target: Target | None) -> str:
        return target.address if target is not None and user.has_perm(target.permission) else ""

    def alarms(section: Section) -> list[Any] | None:
        told = [(alarm.text, opened(alarm.target)) for alarm in section.alarms or ()]
        return None if section.alarms is None else [each for each in told if each[1]]

    return [
        replace(
            section,
            facts=[(name, value, opened(target)) for name, value, target in section.facts],
            rankings=[
                Ranking(each.title, [(*row, opened(target)) for *row, target in each.rows])  # type: ignore[misc]
                for each in section.rankings
            ],
            alarms=alarms(section),
        )
        for section in found
        if user.has_perm(section.permission)
    ]


def forget() -> None:
    """Drop the cache, so that today's figures and past ones are computed again."""
    forget_kept()
    figures.forget()


def forget_kept() -> None:
    """Compute again what is kept for a minute, as happens once it is over."""
    _now.forget()
    _figures.forget()


def _compute_now() -> list[Section]:
    return [_guarded(*each) for each in (("Now", _wrong), ("Spent", _spent), ("Active", _active))]


def _compute_figures() -> list[Section]:
    parts = (("Use", _use), ("Speed", _speed), ("Errors", _errors), ("Search", _search))
    return [_guarded(*each) for each in parts]


def _guarded(title: str, part: Callable[[], Section]) -> Section:
    """Compute one part. If it takes longer than the database allows, the other parts are still shown."""
    try:
        return part()
    except OperationalError as error:
        logger.warning("dashboard: %s: %s", title, type(error).__name__)
        return Section(title, [("Not available", "the database took too long", None)])


_now = Kept(_compute_now, seconds=KEPT_SECONDS)
_figures = Kept(_compute_figures, seconds=KEPT_SECONDS)


def _wrong() -> Section:
    found: list[Alarm] = now.alarms()
    return Section("Now", alarms=found)


def _spent() -> Section:
    return Section("Spent", list(now.spent()), permission="usage.view_dailyusage")


def _active() -> Section:
    count, most = now.active()
    facts = [("Users today and yesterday", f"{count:,}", Target(list_of("accounts_user"), "accounts.view_user"))]
    ranking = _ranking("Most requests", most)
    return Section("Active", facts, rankings=[ranking], permission="usage.view_dailyusage")


def _use() -> Section:
    days = figures.days()
    conversations, messages = figures.started_conversations(), figures.messages()
    asked, answered = figures.tokens()
    since = days[0]
    facts = [
        (
            *("Conversations in 30 days", _total(conversations)),
            Target(list_of("conversations_conversation", since=since), "conversations.view_conversation"),
        ),
        ("Messages", _total(messages), None),
        ("Tokens", _total([*asked, *answered]), None),
        (
            "Answers in progress",
            Run.objects.running().count(),
            Target(list_of("completions_run", state="running"), RUNS),
        ),
        (
            *("Questions waiting for an answer before them", Run.objects.queued().count()),
            Target(list_of("completions_run", state="queued"), RUNS),
        ),
    ]
    charts = [
        Chart("Conversations per day", "conversations", days, [Series("started", conversations)]),
        Chart("Messages per day", "messages", days, [Series("stored", messages)]),
        Chart(
            *("Tokens per day", "tokens", days, [Series("asked", asked), Series("answered", answered)]),
            note="As reported by the models' servers.",
        ),
    ]
    return Section("Use", facts, charts)


def _speed() -> Section:
    charts = []
    for title, column in (
        ("Time to the first token", "first_token_at"),
        ("Time to the complete answer", "finished_at"),
    ):
        middle, slow = figures.times_to(column)
        series = [Series("p50", middle), Series("p95", slow)]
        charts.append(Chart(title, "ms", figures.days(), series, kind="lines", note="Within 5 %."))
    return Section("Speed", charts=charts)


def _errors() -> Section:
    kinds = (
        ("Errors by code", "error_code", "error"),
        ("Errors by model", "model", "model"),
        ("Errors by user", "user__username", "user"),
    )
    since = figures.days()[0]

    def page(name: str, value: str) -> Target:
        more = {} if name == "error" else {"failed": "yes"}
        return Target(list_of("completions_run", **{name: value, "since": since, **more}), RUNS)

    rankings = [
        _ranking(title, [(value, count, page(name, value)) for value, count in figures.errors_by(column)])
        for title, column, name in kinds
    ]
    return Section("Errors", rankings=rankings)


def _search() -> Section:
    middle, slow, count = figures.search_times()
    facts = [("Searches in 30 days", f"{count:,}", None), ("Messages waiting for the index", f"{backlog():,}", None)]
    series = [Series("p50", middle), Series("p95", slow)]
    chart = Chart("Search time", "ms", figures.days(), series, kind="lines", note="Within 5 %.")
    return Section("Search", facts, [chart])


def _total(values: figures.Row) -> str:
    return f"{sum(value or 0 for value in values):,.0f}"


def _ranking(title: str, rows: list[tuple[str, int, Target]]) -> Ranking:
    most = rows[0][1] if rows else 1
    return Ranking(title, [(name, count, round(100 * count / most), target) for name, count, target in rows])
