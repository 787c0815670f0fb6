"""`manage.py usage_report --by group --month 2026-11`: what was used, as CSV, JSON or a table."""

from __future__ import annotations

import datetime as dt
import json
import re
from argparse import ArgumentTypeError
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from foundation.spreadsheets import csv_text
from usage.breakdown import DIMENSIONS, ONE_DAY, Line, Selection, lines_of, total, totals
from usage.money import plain
from usage.months import month_of, next_month
from usage.periods import day_of

COLUMNS = (
    *("requests", "failed", "estimated", "unpriced"),
    *("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "cost"),
)


class Command(BaseCommand):
    help = (
        "Report what was used, by group, user, key, model, upstream, day or month: requests, tokens and cost. "
        "By default of this month; days are those of USAGE_TIME_ZONE."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--by", choices=DIMENSIONS, default="user")
        parser.add_argument("--month", type=_month, metavar="YYYY-MM")
        parser.add_argument("--since", type=_day, metavar="YYYY-MM-DD", help="the first day")
        parser.add_argument("--until", type=_day, metavar="YYYY-MM-DD", help="the last day")
        parser.add_argument("--format", choices=("table", "csv", "json"), default="table", dest="form")

    def handle(self, *args: Any, by: str, form: str, **options: Any) -> None:
        since, until = _period(options["month"], options["since"], options["until"])
        lines = lines_of(totals(Selection(since, until), by), by)
        match form:
            case "csv":
                self.stdout.write(csv_text([[by, *COLUMNS, "currency"], *map(_csv_row, lines)]), ending="")
            case "json":
                self.stdout.write(json.dumps(_document(by, since, until, lines), indent=2, ensure_ascii=False))
            case _:
                self._table(by, lines)

    def _table(self, by: str, lines: list[Line]) -> None:
        shown = [*lines, Line(None, "total", total(line.amounts for line in lines))]
        rows = [[by, *(name.replace("_", " ") for name in COLUMNS)]]
        rows += [[_printable(line.label), *_written(line)] for line in shown]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            name, *amounts = (text.ljust(widths[0]) if not place else text for place, text in enumerate(row))
            cells = [text.rjust(width) for text, width in zip(amounts, widths[1:], strict=True)]
            self.stdout.write("  ".join([name, *cells]))


def _month(text: str) -> dt.date:
    if not re.fullmatch(r"\d{4}-\d{2}", text):
        raise ArgumentTypeError(f"a month is written as 2026-11, not {text!r}")
    return _day(f"{text}-01")


def _day(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"a day is written as 2026-11-01, not {text!r}") from None


def _period(month: dt.date | None, since: dt.date | None, until: dt.date | None) -> tuple[dt.date, dt.date]:
    """Return the first and the last day that options name; by default those of this month."""
    if month and (since or until):
        raise CommandError("--month is not combined with --since and --until.")
    today = day_of(timezone.now())
    if since or until:
        first, last = since or month_of(until or today), until or today
    else:
        first = month or month_of(today)
        last = next_month(first) - ONE_DAY
    if first > last:
        raise CommandError("The first day is after the last one.")
    return first, last


def _csv_row(line: Line) -> list[str]:
    return [line.label, *_written(line), settings.CURRENCY]


def _written(line: Line) -> list[str]:
    return [plain(line.amounts[name]) if name == "cost" else str(line.amounts[name]) for name in COLUMNS]


def _document(by: str, since: dt.date, until: dt.date, lines: list[Line]) -> dict[str, Any]:
    def values(line: Line) -> dict[str, Any]:
        return {name: line.amounts[name] for name in COLUMNS if name != "cost"} | {"cost": plain(line.amounts["cost"])}

    return {
        "by": by,
        "since": since.isoformat(),
        "until": until.isoformat(),
        "currency": settings.CURRENCY,
        "lines": [{"id": _id(line.key), by: line.label, **values(line)} for line in lines],
        "total": values(Line(None, "", total(line.amounts for line in lines))),
    }


def _id(key: Any) -> Any:
    return key if key is None or isinstance(key, int) else str(key)


def _printable(text: str) -> str:
    # A name may contain a terminal's control sequences.
    return "".join(character if character.isprintable() else " " for character in text)
