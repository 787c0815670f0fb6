"""The base of all lists in the admin: their cost does not depend on the number of rows, and they change no history."""

from __future__ import annotations

import datetime as dt
from functools import cached_property
from typing import Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.db import connections
from django.http import HttpRequest
from django.utils import timezone

from foundation.ids import first_id_of

COUNTED = 1_000
"""Up to this many rows are counted; beyond, a list says "more than", or shows the database's estimate."""


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
    """A list in pages that never counts all rows."""

    paginator = EstimatingPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # facets count the rows of every filter choice
    list_per_page = 50
    list_max_show_all = 0


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


class TextFilter(admin.SimpleListFilter):
    """A filter with a text field, for a column with too many values to list."""

    template = "admin/text_filter.html"
    maximum = 200

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("", "")]  # Django drops a filter without choices

    def choices(self, changelist: Any) -> Any:
        others = {name: values for name, values in changelist.filter_params.items() if name != self.parameter_name}
        kept = [(name, value) for name, values in others.items() for value in values]
        if changelist.query:
            kept.append(("q", changelist.query))
        yield {"kept": kept, "remove": changelist.get_query_string(remove=[self.parameter_name])}

    def text(self) -> str:
        return (self.value() or "").replace("\x00", "").strip()[: self.maximum]
