"""What was used and what it cost, for staff: charts over time, a table, and the same as CSV. Reads the ledger alone."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.utils.html import format_html
from django.utils.safestring import SafeString

from dashboard.charts import Chart, Series
from dashboard.usage_form import UsageForm
from foundation.spreadsheets import csv_text
from usage.breakdown import ONE_DAY, Line, Selection, Totals, lines_of, total, totals
from usage.money import plain
from usage.months import month_of, months_between, next_month

MAX_LINES = 500
"""Beyond, the lines that cost least are added up in one."""
MAX_DAYS = 92
"""Charts of more days than these are by month."""
COLUMNS = {
    "requests": "Requests",
    "failed": "Failed",
    "input_tokens": "Input tokens",
    "cached_tokens": "of which cached",
    "output_tokens": "Output tokens",
    "reasoning_tokens": "of which reasoning",
    "estimated": "Estimated",
    "unpriced": "Without a price",
    "cost": "Cost",
}
# Five hundred of these are made in Python in a fifth of the time that a template takes.
ROW = f'<tr><th scope="row">{{}}</th>{"<td>{}</td>" * len(COLUMNS)}</tr>'
# By what the line of one is broken down further.
NEXT = {
    "group": "user",
    "user": "model",
    "key": "model",
    "model": "day",
    "upstream": "model",
    "day": "user",
    "month": "day",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table: `query` leads to the page of this line alone, if it has one."""

    label: str
    cells: list[str]
    query: str = ""

    @property
    def html(self) -> SafeString:
        label = format_html('<a href="?{}">{}</a>', self.query, self.label) if self.query else self.label
        return format_html(ROW, label, *self.cells)


@dataclass(frozen=True, slots=True)
class Report:
    """What the page shows for a valid form; `by` is the heading of the first column."""

    by: str
    lines: list[Line]
    sums: Counter[str]
    charts: list[Chart]
    rows: list[Row]

    @property
    def total_row(self) -> Row:
        return Row("Total", _cells(self.sums))

    @property
    def facts(self) -> list[tuple[str, str]]:
        tokens = self.sums["input_tokens"] + self.sums["output_tokens"]
        return [
            ("Cost", f"{_money(self.sums['cost'])} {settings.CURRENCY}"),
            ("Requests", f"{self.sums['requests']:,}"),
            ("Tokens", f"{tokens:,}"),
        ]

    @property
    def headings(self) -> list[str]:
        return [f"{name} ({settings.CURRENCY})" if name == "Cost" else name for name in COLUMNS.values()]


def report(form: UsageForm, selection: Selection) -> Report:
    """Return what a valid form asks for. Uses the database: up to four queries of the ledger."""
    by = form.by_what
    found = totals(selection, by)
    lines = lines_of(found, by, MAX_LINES)
    return Report(by, lines, total(found.values()), _charts(selection, by, found), _rows(form, by, lines))


def as_csv(shown: Report) -> str:
    """Return the table as it is shown: numbers without separators, the cost as a decimal number."""
    rows = [[line.label, *_plain_cells(line.amounts)] for line in shown.lines]
    return csv_text([[shown.by, *shown.headings], *rows, ["Total", *_plain_cells(shown.sums)]])


def _rows(form: UsageForm, by: str, lines: list[Line]) -> list[Row]:
    """Return the lines as rows; what is common to the queries of all of them is written once."""
    own = ("since", "until") if by in ("day", "month") else (by,)
    common = form.query(by=NEXT[by], **dict.fromkeys(own, ""))
    period = (form.cleaned_data["since"], form.cleaned_data["until"])
    found = []
    for line in lines:
        values = _values(by, line, *period)
        query = f"{common}&{urlencode(dict(zip(own, values, strict=True)))}" if values else ""
        found.append(Row(line.label, _cells(line.amounts), query))
    return found


def _values(by: str, line: Line, since: dt.date, until: dt.date) -> tuple[Any, ...]:
    """Return the values of the filters that leave a line alone; none if it stands for several, or what is deleted."""
    key = line.key
    if not key or line.label.startswith("deleted ("):
        return ()
    match by:
        case "day":
            return key, key
        case "month":
            return max(key, since), min(next_month(key) - ONE_DAY, until)
        case "user":
            return (line.label,)
    return (key,)


def _charts(selection: Selection, by: str, found: Totals) -> list[Chart]:
    by_month = by == "month" or (selection.until - selection.since).days >= MAX_DAYS
    step = "month" if by_month else "day"
    if by == "day" and by_month:
        over_time: Totals = {}
        for day, amounts in found.items():
            over_time.setdefault(month_of(day), Counter()).update(amounts)
    else:
        over_time = found if by == step else totals(selection, step)
    count = (selection.until - selection.since).days + 1
    days = [selection.since + number * ONE_DAY for number in range(count)]
    places = months_between(selection.since, selection.until) if by_month else days
    nothing: Counter[str] = Counter()
    amounts_of = [over_time.get(place, nothing) for place in places]

    def values(name: str, less: str = "", unit: float = 1) -> list[float | None]:
        return [(each[name] - (each[less] if less else 0)) / unit for each in amounts_of]

    def chart(title: str, unit: str, *series: Series, whole: bool = True) -> Chart:
        return Chart(f"{title} per {step}", unit, places, series, by_month=by_month, is_whole=whole)

    return [
        chart("Cost", settings.CURRENCY, Series("cost", values("cost", unit=1e6)), whole=False),
        chart(
            *("Tokens", "tokens", Series("input", values("input_tokens"))),
            Series("output", values("output_tokens")),
        ),
        chart(
            *("Requests", "requests", Series("answered", values("requests", "failed"))),
            Series("failed", values("failed")),
        ),
    ]


def _cells(amounts: Counter[str]) -> list[str]:
    return [_money(amounts[name]) if name == "cost" else f"{amounts[name]:,}" for name in COLUMNS]


def _plain_cells(amounts: Counter[str]) -> list[Any]:
    return [plain(amounts[name]) if name == "cost" else amounts[name] for name in COLUMNS]


def _money(amount: int) -> str:
    """Return an amount with two places, or with as many as a small one has."""
    return f"{amount / 1e6:,.2f}" if amount >= 10_000 or not amount else plain(amount)
