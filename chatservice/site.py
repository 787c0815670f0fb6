"""The admin site: Django's own, with a dashboard. It needs no inline script or style, so the strict CSP applies."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any, TypeVar

from django.conf import settings
from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import path, reverse

from accounts.authentication import caller_of
from chatservice.views import notice

View = TypeVar("View", bound=Callable[..., HttpResponseBase])
CLOSED = (
    "The admin is open only to the user that runs this service, on the machine where it runs and not through a "
    "proxy. ADMIN_ENABLED=true opens it to everybody who reaches the service and signs in as staff. See "
    "docs/guests.md."
)


def require_local(view: View) -> View:
    """Refuse everybody but this machine's own user, even the sign-in form, unless ADMIN_ENABLED=true."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if settings.ADMIN_ENABLED == "auto" and not caller_of(request).is_local():
            return notice(403, "The admin is closed here", CLOSED)
        return view(request, *args, **kwargs)

    return guarded  # type: ignore[return-value]  # it is called like the view


class StaffSite(AdminSite):
    site_title = "Chat service"
    site_header = "Chat service"
    index_title = "Site administration"
    site_url = f"{settings.URL_PREFIX}/"

    def get_urls(self) -> list[Any]:
        return [path("dashboard/", self.admin_view(self.dashboard), name="dashboard"), *super().get_urls()]

    def admin_view(self, view: View, cacheable: bool = False) -> View:
        return require_local(super().admin_view(view, cacheable))

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        from accounts.forms import finish_attempt

        response = require_local(super().login)(request, extra_context)
        finish_attempt(request, response)
        return response

    def password_change(  # type: ignore[override]  # once it is changed, a redirect
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponseBase:
        """Django's view with another form, because the old password can be guessed here, too."""
        from django.contrib.auth.views import PasswordChangeView

        from accounts.forms import StaffPasswordForm, finish_attempt

        view = PasswordChangeView.as_view(
            form_class=partial(StaffPasswordForm, request=request),
            success_url=reverse("admin:password_change_done", current_app=self.name),
            extra_context={**self.each_context(request), **(extra_context or {})},
        )
        request.current_app = self.name
        response = view(request)
        finish_attempt(request, response)
        return response

    def dashboard(self, request: HttpRequest) -> HttpResponse:
        """Show counts and durations of the last 30 days: no titles, no message text."""
        from dashboard.page import sections

        if not request.user.has_perm("completions.view_run"):
            raise PermissionDenied
        context = {**self.each_context(request), "title": "Dashboard", "sections": sections()}
        return TemplateResponse(request, "admin/dashboard.html", context)
