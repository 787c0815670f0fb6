"""The pages for people: chat, profile, signing in and out. What they show comes from the APIs, by our own scripts."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth import logout
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.views.decorators.csrf import csrf_exempt

from accounts.authentication import caller_of
from accounts.forms import SignInForm
from accounts.sessions import refusal_of
from chatservice.dialects.base import json_response
from chatservice.policy import POLICY

HEADERS = {"Content-Security-Policy": POLICY, "X-Frame-Options": "DENY", "Cache-Control": "no-cache"}


# What main.js imports, for the browser to fetch at once and not one after the other.
MODULES = (
    *("api", "composer", "dialogs", "dom", "list", "live", "message", "operations", "scroll", "search"),
    *("shortcuts", "stream", "talk", "toasts"),
)


async def chat(request: HttpRequest) -> HttpResponse:
    """Show the chat page: the same for everybody, so it costs no look-up; its scripts ask who is there."""
    modules = [f"chatservice/page/{name}.js" for name in MODULES]
    return HttpResponse(render_to_string("chat.html", {"modules": modules}), headers=HEADERS)


async def profile(request: HttpRequest) -> HttpResponse:
    return HttpResponse(render_to_string("profile.html"), headers=HEADERS)


class SignIn(LoginView):
    """Username and password into a session."""

    template_name = "login.html"
    authentication_form = SignInForm

    def form_invalid(self, form: SignInForm) -> HttpResponse:
        response = super().form_invalid(form)
        if form.retry_after:
            response.status_code = 429
            response.headers["Retry-After"] = str(form.retry_after)
        return response

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        response = super().dispatch(request, *args, **kwargs)
        for name, value in {**HEADERS, "Cache-Control": "no-store"}.items():
            response.headers[name] = value
        return response


@csrf_exempt  # the rule for sessions holds here too: only our own page can send the header it asks for
def sign_out(request: HttpRequest) -> HttpResponse:
    """End the session, if there is one: POST, by the pages' script."""
    if request.method != "POST":
        return json_response({"error": {"code": "method_not_allowed", "message": "Sign out by POST."}}, 405)
    caller = caller_of(request)
    if refusal := refusal_of(caller.method, caller.headers, secure=caller.secure):
        return json_response({"error": {"code": "forbidden", "message": refusal}}, 403)
    logout(request)
    response = HttpResponse(status=204)
    # Also one that was over by itself: it would be refused, where without it one may be a guest.
    response.delete_cookie(settings.SESSION_COOKIE_NAME)
    return response
