"""Draws charts as SVG: nothing is loaded, no script runs. Colours are classes, so dark mode needs only CSS."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

WIDTH, HEIGHT = 640, 220
LEFT, RIGHT, TOP, BOTTOM = 56, 24, 10, 26
EMPTY = SafeString("")


@dataclass(frozen=True, slots=True)
class Series:
    """One line of values, one per day; None for a day without a value."""

    name: str
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart. `kind` is bars (stacked) or lines. `unit` is shown at the axis.

    With `by_month`, `days` are the first days of months. `is_whole`: the axis does not end below 4.
    """

    title: str
    unit: str
    days: Sequence[dt.date]
    series: Sequence[Series]
    kind: str = "bars"
    note: str = ""
    by_month: bool = False
    is_whole: bool = True

    @property
    def slug(self) -> str:
        return "-".join(self.title.lower().split())

    @property
    def is_empty(self) -> bool:
        return not any(value for each in self.series for value in each.values)

    @property
    def rows(self) -> list[tuple[dt.date, list[str]]]:
        """Return the chart as a table: the newest day first, without empty days."""
        found = []
        for place, day in enumerate(self.days):
            values = [each.values[place] for each in self.series]
            if any(values):
                found.append((day, [number(value) for value in values]))
        return found[::-1]

    @property
    def highest(self) -> float:
        if self.kind == "bars":
            stacks = [
                sum(value or 0 for value in values) for values in zip(*(s.values for s in self.series), strict=True)
            ]
        else:
            stacks = [value or 0 for each in self.series for value in each.values]
        return round_up(max(stacks, default=0), whole=self.is_whole)

    @property
    def svg(self) -> SafeString:
        return format_html(
            '<svg viewBox="0 0 {} {}" role="img" aria-label="{}: {}" class="chart">{}{}{}</svg>',
            *(WIDTH, HEIGHT, self.title, self._in_words()),
            *(self._grid(), self._day_labels(), self._bars() if self.kind == "bars" else self._lines()),
        )

    def _label(self, day: dt.date) -> str:
        return f"{day:%b %Y}" if self.by_month else f"{day:%d %b}"

    def _in_words(self) -> str:
        told = []
        for each in self.series:
            values = [value for value in each.values if value is not None]
            if values:
                told.append(f"{each.name} from {number(min(values))} to {number(max(values))} {self.unit}")
        return "; ".join(told) or "no data yet"

    def _x(self, place: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * place / len(self.days), 1)

    def _y(self, value: float) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / (self.highest or 1), 1)

    def _grid(self) -> SafeString:
        marks = [self.highest * part / 4 for part in range(5)]
        return format_html_join(
            "",
            '<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>'
            '<text class="axis" x="{}" y="{}" text-anchor="end">{}</text>',
            (
                (LEFT, WIDTH - RIGHT, self._y(mark), self._y(mark), LEFT - 6, self._y(mark) + 4, short(mark))
                for mark in marks
            ),
        )

    def _day_labels(self) -> SafeString:
        every = max(1, len(self.days) // 5)
        return format_html_join(
            "",
            '<text class="axis" x="{}" y="{}" text-anchor="middle">{}</text>',
            (
                (self._x(place + 0.5), HEIGHT - 8, self._label(day))
                for place, day in enumerate(self.days)
                if (len(self.days) - 1 - place) % every == 0 and place > 0
            ),
        )

    def _bars(self) -> SafeString:
        width = round((WIDTH - LEFT - RIGHT) / len(self.days) * 0.76, 1)
        pieces: list[SafeString] = []
        for place, day in enumerate(self.days):
            below = 0.0
            for number_of, each in enumerate(self.series):
                value = each.values[place] or 0
                if value:
                    top = self._y(below + value)
                    pieces.append(
                        format_html(
                            '<rect class="series-{}" x="{}" y="{}" width="{}" height="{}">'
                            "<title>{}: {} {} {}</title></rect>",
                            *(number_of, self._x(place + 0.12), top, width, round(max(self._y(below) - top, 0.8), 1)),
                            *(self._label(day), number(value), self.unit, each.name),
                        )
                    )
                below += value
        return format_html_join("", "{}", ((piece,) for piece in pieces))

    def _lines(self) -> SafeString:
        pieces: list[SafeString] = []
        for number_of, each in enumerate(self.series):
            points = [
                (self._x(place + 0.5), self._y(value), day, value)
                for place, (day, value) in enumerate(zip(self.days, each.values, strict=True))
                if value is not None
            ]
            path = " ".join(f"{x},{y}" for x, y, _, _ in points)
            pieces.append(format_html('<polyline class="line series-{}" points="{}"/>', number_of, path))
            pieces += [
                format_html(
                    '<circle class="series-{}" cx="{}" cy="{}" r="3"><title>{}: {} {}, {}</title></circle>',
                    *(number_of, x, y, self._label(day), number(value), self.unit, each.name),
                )
                for x, y, day, value in points
            ]
        return format_html_join("", "{}", ((piece,) for piece in pieces))


def round_up(value: float, *, whole: bool = True) -> float:
    """Return the next round number, for the end of an axis; `whole`: of something that is counted, so at least 4."""
    if value <= 0 or (whole and value <= 4):
        return 4
    size: float = 10 ** math.floor(math.log10(value / 4))
    return next(step * size for step in (4, 8, 12, 16, 20, 24, 32, 40) if step * size >= value)


def short(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def number(value: float | None) -> str:
    if value is None:
        return "–"
    if value < 1:
        return f"{value:.2g}"
    return f"{value:,.0f}" if value >= 100 or float(value).is_integer() else f"{value:,.1f}"
