"""The admin site: Django's own, with a dashboard. It needs no inline script or style, so the strict CSP applies."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any, TypeVar
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.admin import AdminSite
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.core.exceptions import BadRequest, PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse

from accounts.authentication import caller_of
from chatservice.views import TITLES, notice, prefers_page

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


def require_second_factor(view: View) -> View:
    """Send a session that has to confirm a second factor, or to set one up, to where it can: it may only sign out."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        from signin.second_factor import demanded

        leaves = request.resolver_match is not None and request.resolver_match.url_name == "logout"
        return (None if leaves else demanded(request)) or view(request, *args, **kwargs)

    return guarded  # type: ignore[return-value]  # it is called like the view


REFUSALS: dict[type[Exception], tuple[int, str]] = {
    BadRequest: (400, "Go back, and try it again without what you changed in the address."),
    PermissionDenied: (403, "Your account lacks the permission for this page. A superuser can grant it to you."),
    Http404: (404, "There is no such page. What it showed may have been deleted."),
}


class StaffSite(AdminSite):
    site_title = "Chat service"
    site_header = "Chat service"
    index_title = "Site administration"
    index_template = "admin/home.html"
    site_url = f"{settings.URL_PREFIX}/"

    def get_urls(self) -> list[Any]:
        return [
            path("dashboard/", self.admin_view(self.dashboard), name="dashboard"),
            path("dashboard/failures/", self.admin_view(self.failures), name="failures"),
            path("dashboard/usage/", self.admin_view(self.usage), name="usage"),
            path("dashboard/usage/csv/", self.admin_view(self.usage_csv), name="usage_csv"),
            *super().get_urls(),
        ]

    def admin_view(self, view: View, cacheable: bool = False) -> View:
        return require_local(require_second_factor(super().admin_view(self.with_refusals(view), cacheable)))

    def with_refusals(self, view: View) -> View:
        """Show staff what is refused as a page with the admin's navigation; who asks for JSON gets it from views.py."""

        @wraps(view)
        def shown(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            try:
                return view(request, *args, **kwargs)
            except tuple(REFUSALS) as error:
                if not prefers_page(request, otherwise="text/html"):
                    raise
                status, message = next(REFUSALS[kind] for kind in REFUSALS if isinstance(error, kind))
                context = {**self.each_context(request), "title": TITLES[status], "message": message}
                return TemplateResponse(request, "admin/refusal.html", context, status=status)

        return shown  # type: ignore[return-value]  # it is called like the view

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        from accounts.forms import finish_attempt

        view = self.page_login if settings.OIDC.is_on and not request.user.is_authenticated else super().login
        response = require_local(view)(request, extra_context)
        finish_attempt(request, response)
        return response

    def page_login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Send the browser to the page's own form, which shows the way to the OpenID provider, too."""
        back = request.GET.get(REDIRECT_FIELD_NAME, "") or reverse("admin:index", current_app=self.name)
        return HttpResponseRedirect(f"{settings.LOGIN_URL}?{urlencode({REDIRECT_FIELD_NAME: back})}")

    def logout(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        response = super().logout(request, extra_context)
        if elsewhere := getattr(request, "provider_page", ""):
            # No redirect: form-action in the Content-Security-Policy covers those after a form.
            response.headers["Refresh"] = f"0; url={elsewhere}"
        return response

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        return {**super().each_context(request), "has_second_factors": settings.STAFF_SECOND_FACTOR != "off"}

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
        """Show what is wrong, and counts and durations of the last 30 days: no titles, no message text."""
        from dashboard.page import counting_since, sections

        if not request.user.has_perm("completions.view_run"):
            raise PermissionDenied
        found = {"sections": sections(request.user), "counting": counting_since()}
        context = {**self.each_context(request), "title": "Dashboard", **found}
        return TemplateResponse(request, "admin/dashboard.html", context)

    def failures(self, request: HttpRequest) -> HttpResponse:
        """Show which runs failed: codes, models and upstreams, no content."""
        from dashboard.failures import FailuresForm, failures

        if not request.user.has_perm("completions.view_run"):
            raise PermissionDenied
        form = FailuresForm(request.GET)
        found = {"form": form, "report": failures(form) if form.is_valid() else None}
        context = {**self.each_context(request), "title": "Failed runs", **found}
        return TemplateResponse(request, "admin/failures.html", context)

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """Show what is wrong now, what was spent and who is active above the list of everything."""
        from dashboard.page import sections_of_now

        return super().index(request, {"sections": sections_of_now(request.user), **(extra_context or {})})

    def usage(self, request: HttpRequest) -> HttpResponse:
        """Show what was used and what it cost: no content."""
        from dashboard.usage_views import usage_context

        context = {**self.each_context(request), "title": "Usage", **usage_context(request)}
        return TemplateResponse(request, "admin/usage.html", context)

    def usage_csv(self, request: HttpRequest) -> HttpResponse:
        """Send the table that the same query shows."""
        from dashboard.usage_views import usage_file

        return usage_file(request)
