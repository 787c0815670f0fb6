"""The pages for people: chat, profile, signing in and out. Our own scripts fetch their contents from the APIs."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.auth import logout
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.loader import render_to_string
from django.views.decorators.csrf import csrf_exempt

from accounts.authentication import caller_of
from accounts.callers import IdentityChanged
from accounts.forms import SignInForm, finish_attempt
from accounts.principal import check_page_user
from accounts.sessions import ON_HOLD, refusal_of
from pages.csp import PAGE_HEADERS

# The modules that main.js imports, which the page preloads in parallel.
SHARED_MODULES = ("turns",)
MODULES = (
    *("api", "attach", "code", "composer", "dialogs", "dom", "draft", "errors", "feedback", "files", "identity"),
    *("identity_watch", "limit", "list", "live", "message", "operations", "scroll", "search", "shortcuts", "state"),
    *("stream", "tags", "talk", "thought", "toasts"),
)


async def chat(request: HttpRequest) -> HttpResponse:
    """Show the chat page. It is the same for everybody, so it needs no look-up; its scripts ask who the user is."""
    modules = [*(f"conversations/{name}.js" for name in SHARED_MODULES), *(f"pages/{name}.js" for name in MODULES)]
    limits = filter(None, (settings.LIMIT_FILE_BYTES, settings.LIMIT_CONTENT_BODY_BYTES))
    context = {
        "modules": modules,
        "longest": settings.LIMIT_MESSAGE_CHARS,
        "most_bytes": min(limits, default=0),
        "share_days": settings.SHARE_MAX_DAYS if settings.SHARING else 0,
        "title_seconds": settings.TITLE_SECONDS if settings.TITLE_MODEL else 0,
    }
    headers = {**PAGE_HEADERS, "Cache-Control": "no-cache"}
    return HttpResponse(render_to_string("chat.html", context), headers=headers)


async def profile(request: HttpRequest) -> HttpResponse:
    context = {**sign_in_ways(), "most_bytes": settings.LIMIT_FILE_BYTES, "may_share": settings.SHARING}
    return HttpResponse(render_to_string("profile.html", context), headers=PAGE_HEADERS)


def provider_name() -> str:
    """Return what people call the OpenID provider that they sign in at, '' if there is none."""
    return settings.OIDC.name if settings.OIDC.is_on else ""


def sign_in_ways() -> dict[str, Any]:
    return {"provider": provider_name(), "passwords": settings.PASSWORD_SIGN_IN}


class SignIn(LoginView):
    """Signs in with username and password, and starts a session; shows the way to an OpenID provider."""

    template_name = "login.html"
    authentication_form = SignInForm

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        held = request.session.get(ON_HOLD) if request.method == "GET" and request.user.is_authenticated else None
        response = self.confirming(held) if held else super().dispatch(request, *args, **kwargs)
        finish_attempt(request, response)
        for name, value in {**PAGE_HEADERS, "Cache-Control": "no-store"}.items():
            response.headers[name] = value
        return response

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        response = super().form_valid(form)
        held = self.request.session.get(ON_HOLD)
        return self.confirming(held) if held else response

    def confirming(self, page: str) -> HttpResponseRedirect:
        """Send the browser to where a second factor is confirmed, and from there to where it wanted to go."""
        return HttpResponseRedirect(f"{page}?{urlencode({'next': self.get_success_url()})}")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {**super().get_context_data(**kwargs), **sign_in_ways()}


@csrf_exempt  # protected by the rule for sessions: only our own page can send the required header
def sign_out(request: HttpRequest) -> HttpResponse:
    """End the session, if there is one. The pages' script sends this as POST, and goes where the answer says."""
    if request.method != "POST":
        return JsonResponse({"error": {"code": "method_not_allowed", "message": "Use POST to sign out."}}, status=405)
    caller = caller_of(request)
    if refusal := refusal_of(caller.method, caller.headers, secure=caller.secure):
        return JsonResponse({"error": {"code": "forbidden", "message": refusal}}, status=403)
    try:
        if request.user.is_authenticated:
            check_page_user(caller, str(request.user.pk))
    except IdentityChanged as changed:  # the page of one user must not sign another user out
        return JsonResponse({"error": {"code": changed.code, "message": changed.message}}, status=401)
    logout(request)
    elsewhere = getattr(request, "provider_page", "")
    response = JsonResponse({"location": elsewhere}) if elsewhere else HttpResponse(status=204)
    # Also delete the cookie of an expired session: it would be refused, whereas without it the caller may be a guest.
    response.delete_cookie(settings.SESSION_COOKIE_NAME, path=settings.SESSION_COOKIE_PATH)
    return response
