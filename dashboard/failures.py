"""Failed runs by code, model and upstream over time, of any dates; each line leads to its runs."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.core.exceptions import ValidationError
from django.db import OperationalError
from django.db.models import Count, Max, Min
from django.db.models.functions import TruncDate, TruncMonth
from django.utils import timezone

from completions.models import Run
from dashboard.charts import Chart, Series
from dashboard.figures import ONE_DAY, as_date, midnight
from dashboard.usage_form import DayInput
from foundation.admin_base import EARLIEST, LATEST
from foundation.admin_links import list_of
from foundation.ids import first_id_of
from usage.months import month_of, months_between

COLUMNS = {"code": "error_code", "model": "model", "upstream": "upstream"}
PARAMETERS = {"code": "error", "model": "model", "upstream": "upstream"}
"""What the list of runs calls its filters."""
DEFAULT_DAYS = 30
MAX_CHART_DAYS = 92
"""Charts of more days than these are by month."""
MAX_CHART_MONTHS = 120
MAX_LINES = 200


class FailuresForm(forms.Form):
    """What is asked for; what is missing has its default. Days are those of UTC."""

    by = forms.ChoiceField(choices=[(name, name.capitalize()) for name in COLUMNS], required=False)
    since = forms.DateField(required=False, label="From", widget=DayInput(format="%Y-%m-%d"))
    until = forms.DateField(required=False, label="To", widget=DayInput(format="%Y-%m-%d"))
    code = forms.CharField(required=False, max_length=60)
    model = forms.CharField(required=False, max_length=200)
    upstream = forms.CharField(required=False, max_length=100)

    def __init__(self, given: Any) -> None:
        day = timezone.now().date()
        defaults = {"by": "code", "since": str(day - (DEFAULT_DAYS - 1) * ONE_DAY), "until": str(day)}
        values = {name: given.get(name, "").strip() for name in self.base_fields}
        super().__init__({name: value or defaults.get(name, "") for name, value in values.items()}, label_suffix="")
        for name in COLUMNS:
            self.fields[name].widget.attrs["placeholder"] = "all"

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        since, until = (given.get(name) for name in ("since", "until"))
        if since and until and since > until:
            raise ValidationError("The first day is after the last one.")
        for name, day in (("since", since), ("until", until)):
            if day:
                given[name] = min(max(day, EARLIEST), LATEST)
        return given

    def query(self, **changes: Any) -> str:
        """Return the query of the same page, with other values."""
        return urlencode({name: value for name, value in {**self.data, **changes}.items() if value})


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the table: `query` leads to the page of this line alone, `runs` to the list of its runs."""

    name: str
    count: int
    last: dt.datetime
    query: str
    runs: str


@dataclass(frozen=True, slots=True)
class Report:
    by: str
    count: int
    chart: Chart | None
    lines: list[Line]
    is_cut: bool


def failures(form: FailuresForm) -> Report | None:
    """Return what a valid form asks for, by two queries over the index of failed runs; None if they take too long."""
    try:
        return _report(form)
    except OperationalError:
        return None


def _report(form: FailuresForm) -> Report:
    given = form.cleaned_data
    by, since, until = given["by"], given["since"], given["until"]
    chosen = {column: given[name] for name, column in COLUMNS.items() if given[name]}
    bounds = {"id__gte": first_id_of(midnight(since)), "id__lt": first_id_of(midnight(until + ONE_DAY))}
    rows = Run.objects.exclude(error_code="").filter(**bounds, **chosen).order_by()
    of_line = rows.values_list(COLUMNS[by]).annotate(count=Count("pk"), first=Min("created_at"), last=Max("created_at"))
    found = sorted(of_line, key=lambda row: (-row[1], row[0]))
    count = sum(row[1] for row in found)
    following = {"code": "model", "model": "upstream", "upstream": "code"}[by]
    kept = {PARAMETERS[name]: given[name] for name in COLUMNS if given[name]}
    lines = [
        Line(
            *(name or "none", times, last, form.query(**{by: name, "by": following}) if name else ""),
            list_of("completions_run", since=since, until=until, failed="yes", **{**kept, PARAMETERS[by]: name}),
        )
        for name, times, _, last in found[:MAX_LINES]
    ]
    return Report(by, count, _chart(rows, by, since, until, found), lines, len(found) > MAX_LINES)


def _chart(rows: Any, by: str, since: dt.date, until: dt.date, found: list[Any]) -> Chart | None:
    """Draw the two most frequent values and the others, by day or, of a long time, by month."""
    if not found:
        return None
    count_of_days = (until - since).days + 1
    by_month = count_of_days > MAX_CHART_DAYS
    if by_month:  # from the first failure to the last
        first, last = min(row[2] for row in found).date(), max(row[3] for row in found).date()
        places = months_between(max(since, first), min(until, last))[-MAX_CHART_MONTHS:]
    else:
        places = [since + number * ONE_DAY for number in range(count_of_days)]
    truncate = TruncMonth if by_month else TruncDate
    most = [name for name, *_ in found[:2]]
    counts: dict[str, Counter[dt.date]] = {name: Counter() for name in [*most, ""]}
    moments = rows.annotate(place=truncate("created_at")).values_list("place", COLUMNS[by]).annotate(count=Count("pk"))
    for place, name, count in moments:
        day = place.date() if isinstance(place, dt.datetime) else as_date(place)
        counts[name if name in most else ""][month_of(day) if by_month else day] += count
    series = [Series(name or "none", [float(counts[name][place]) for place in places]) for name in most]
    if len(found) > len(most):
        series.append(Series("others", [float(counts[""][place]) for place in places]))
    title = f"Failed runs per {'month' if by_month else 'day'} by {by}"
    return Chart(title, "runs", places, series, by_month=by_month)
