"""The admin site: Django's own, with a dashboard. It needs no inline script or style, so the strict policy holds."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path


class StaffSite(AdminSite):
    site_title = "Chat service"
    site_header = "Chat service"
    index_title = "What there is"
    site_url = "/"

    def get_urls(self) -> list[Any]:
        return [path("dashboard/", self.admin_view(self.dashboard), name="dashboard"), *super().get_urls()]

    def dashboard(self, request: HttpRequest) -> HttpResponse:
        """Show counts and times of the last 30 days: no titles, nothing of what was said."""
        from chatservice.dashboard.page import sections

        if not request.user.has_perm("completions.view_run"):
            raise PermissionDenied
        context = {**self.each_context(request), "title": "Dashboard", "sections": sections()}
        return TemplateResponse(request, "admin/dashboard.html", context)
