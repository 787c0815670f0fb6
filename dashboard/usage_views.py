"""The requests of the usage page: who may see what, and what is sent."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import BadRequest, PermissionDenied
from django.db.models import Q
from django.http import HttpRequest, HttpResponse

from dashboard.usage_form import UsageForm
from dashboard.usage_page import as_csv, report
from usage.breakdown import visible_usage


def usage_context(request: HttpRequest) -> dict[str, Any]:
    """Return what the page shows: with invalid filters, these alone."""
    visible, form = _visible(request), UsageForm(request.GET)
    found = report(form, form.selection(visible)) if form.is_valid() else None
    return {"form": form, "report": found, "time_zone": settings.USAGE_TIME_ZONE}


def usage_file(request: HttpRequest) -> HttpResponse:
    visible, form = _visible(request), UsageForm(request.GET)
    if not form.is_valid():
        raise BadRequest("These filters are not valid.")
    found, selection = report(form, form.selection(visible)), form.cleaned_data
    name = f"usage-by-{found.by}-{selection['since']}-{selection['until']}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return HttpResponse(as_csv(found), content_type="text/csv; charset=utf-8", headers=headers)


def _visible(request: HttpRequest) -> Q:
    visible = visible_usage(request.user)
    if visible is None:
        raise PermissionDenied
    return visible
