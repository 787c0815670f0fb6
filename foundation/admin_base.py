"""The base of all lists in the admin: their cost does not depend on the number of rows, and they change no history."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.db import connections
from django.http import HttpRequest
from django.utils import timezone

from foundation.admin_links import Link, linked
from foundation.ids import first_id_of

COUNTED = 1_000
"""Up to this many rows are counted; beyond, a list says "more than", or shows the database's estimate."""

# What ids can express, and a day can be added to.
EARLIEST, LATEST = dt.date(1970, 1, 1), dt.date(9000, 1, 1)


class EstimatingPaginator(Paginator):  # type: ignore[type-arg]  # not subscriptable at run time
    """Counts up to COUNTED rows. For a whole table PostgreSQL has an estimate; otherwise it shows "more than"."""

    approximate = False

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        counted: int = rows.order_by()[: COUNTED + 1].count()
        if counted <= COUNTED:
            return counted
        self.approximate = True
        return max(self._estimate(rows), COUNTED + 1)

    def _estimate(self, rows: Any) -> int:
        connection = connections[rows.db]
        if connection.vendor != "postgresql" or rows.query.where:
            return 0
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT reltuples::bigint FROM pg_class WHERE oid = %s::regclass", [rows.model._meta.db_table]
            )
            return int(cursor.fetchone()[0])


class ListAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not subscriptable at run time
    """A list in pages that never counts all rows. Its `links` lead from fields to other pages."""

    paginator = EstimatingPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # facets count the rows of every filter choice
    list_per_page = 50
    list_max_show_all = 0
    links: Mapping[str, Link] = {}

    def get_list_display(self, request: HttpRequest) -> Any:
        return linked(super().get_list_display(request), self.links, request)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return linked(super().get_fields(request, obj), self.links, request)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return linked(super().get_readonly_fields(request, obj), self.links, request)


def minute(moment: dt.datetime | None) -> str:
    """Return a time as the lists show it, in UTC."""
    return f"{moment:%Y-%m-%d %H:%M}" if moment else ""


class HistoryAdmin(ListAdmin):
    """Rows that nobody adds or changes by hand."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class MadeFilter(admin.SimpleListFilter):
    """Filters by the time a row was made, which its id tells."""

    title = "time"
    parameter_name = "made"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("hour", "Past hour"), ("day", "Past 24 hours"), ("week", "Past 7 days"), ("month", "Past 30 days")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        hours = {"hour": 1, "day": 24, "week": 24 * 7, "month": 24 * 30}.get(self.value() or "")
        if hours is None:
            return queryset
        return queryset.filter(id__gte=first_id_of(timezone.now() - dt.timedelta(hours=hours)))


class DatesFilter(admin.ListFilter):
    """Filters by days (UTC) from `since` to `until`, both included, however far apart: of the id, or of `column`."""

    title = "dates (UTC)"
    template = "admin/dates_filter.html"
    column = "id"

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        self.used_parameters = {name: params.pop(name)[-1] for name in self.expected_parameters() if name in params}

    def has_output(self) -> bool:
        return True

    def expected_parameters(self) -> list[str | None]:
        return ["since", "until"]

    def choices(self, changelist: Any) -> Any:
        names = self.expected_parameters()
        yield {"kept": kept_parameters(changelist, names), "remove": changelist.get_query_string(remove=names)}

    @property
    def since(self) -> str:
        return str(self.used_parameters.get("since", ""))

    @property
    def until(self) -> str:
        return str(self.used_parameters.get("until", ""))

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        try:
            bounds = {"gte": moment_of(self.since), "lt": moment_of(self.until, days=1)}
        except ValueError:
            return queryset.none()
        found = {f"{self.column}__{name}": moment for name, moment in bounds.items() if moment is not None}
        if self.column == "id":
            return queryset.filter(**{name: first_id_of(moment) for name, moment in found.items()})
        return queryset.filter(**found)


def moment_of(day: str, days: int = 0) -> dt.datetime | None:
    """Return when a day (UTC) or one some `days` later begins; None for an empty text. Raises ValueError."""
    if not day:
        return None
    chosen = min(max(dt.date.fromisoformat(day), EARLIEST), LATEST)
    return dt.datetime.combine(chosen, dt.time(), dt.UTC) + dt.timedelta(days=days)


def kept_parameters(changelist: Any, without: Sequence[str | None]) -> list[tuple[str, str]]:
    """Return the parameters of a list that a form of its own for some of them sends along."""
    kept = [(name, value) for name, values in changelist.filter_params.items() for value in values]
    return [(name, value) for name, value in kept if name not in without]


class TextFilter(admin.SimpleListFilter):
    """A filter with a text field, for a column with too many values to list: rows whose `column` is what is sought."""

    template = "admin/text_filter.html"
    maximum = 200
    column = ""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("", "")]  # Django drops a filter without choices

    def choices(self, changelist: Any) -> Any:
        kept = kept_parameters(changelist, [self.parameter_name])
        yield {"kept": kept, "remove": changelist.get_query_string(remove=[self.parameter_name])}

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(**{self.column: self.sought()}) if self.text() else queryset

    def sought(self) -> Any:
        """Return the value of the column for the text, which is not empty."""
        return self.text()

    def text(self) -> str:
        return (self.value() or "").replace("\x00", "").strip()[: self.maximum]
