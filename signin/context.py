"""Views of django-allauth as pages of this service."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

from allauth.account.middleware import AccountMiddleware
from allauth.core.exceptions import ImmediateHttpResponse
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.template.loader import render_to_string

from accounts.forms import finish_attempt
from pages.csp import PAGE_HEADERS

View = Callable[..., HttpResponseBase]


def page(view: View) -> View:
    """Return the view with what allauth's middleware does for it, our headers, and the answer 429 to guessing."""

    @wraps(view)
    def shown(request: HttpRequest, **named: Any) -> HttpResponseBase:
        middleware = AccountMiddleware(partial(view, **named))
        try:
            response: HttpResponseBase = middleware(request)
        except Exception as error:
            response = middleware.process_exception(request, error)
            if response is None:
                raise
        finish_attempt(request, response)
        render = getattr(response, "render", None)
        if render is not None:
            response = render()
        for name, value in {**PAGE_HEADERS, "Cache-Control": "no-store"}.items():
            response.headers[name] = value
        return response

    return shown


def refusal(status: int, title: str, message: str, *, retry_after: int = 0) -> ImmediateHttpResponse:
    """Return what to raise to answer with a page that explains why; `retry_after` is in seconds."""
    page = render_to_string("notice.html", {"title": title, "message": message})
    headers = {"Retry-After": str(retry_after)} if retry_after else {}
    return ImmediateHttpResponse(HttpResponse(page, status=status, headers=headers))
