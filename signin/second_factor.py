"""When the second factor is asked for.

At each sign-in, by password or at the OpenID provider, the session of whoever has one is put on hold: it counts for
nothing (accounts/sessions.py) until it is confirmed, and the browser is sent to the page that asks. With
STAFF_SECOND_FACTOR=required the same happens to staff who have none yet, until they have set one up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from allauth.account.internal.flows.login import record_authentication
from allauth.mfa.models import Authenticator
from allauth.mfa.signals import authenticator_added, authenticator_used
from django.conf import settings
from django.contrib.auth import logout
from django.contrib.auth.signals import user_logged_in
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from accounts.sessions import ON_HOLD

CONFIRMED = "second_factor_confirmed"
SIGNED_IN_AT = "signed_in_at"
# How long after signing in another way to sign in may be added: an abandoned browser must not do it.
FRESH_SECONDS = 600
OFF, REQUIRED = "off", "required"


def is_set_up(user: Any) -> bool:
    return user.is_authenticated and bool(_kinds(user))


def _kinds(user: Any) -> set[str]:
    rows = Authenticator.objects.filter(user_id=user.pk).exclude(type=Authenticator.Type.RECOVERY_CODES)
    return set(rows.values_list("type", flat=True))


def page_for(user: Any) -> str:
    """Return the path of the page where an account confirms its second factor, or sets one up; '' if it needs none."""
    kinds = _kinds(user)
    if Authenticator.Type.TOTP in kinds:
        return reverse("mfa_reauthenticate")
    if kinds:
        return reverse("mfa_reauthenticate_webauthn")
    return reverse("mfa_index") if settings.STAFF_SECOND_FACTOR == REQUIRED and user.is_staff else ""


def trust_provider(request: HttpRequest) -> None:
    """Take the provider's word for the sign-in that this request completes."""
    request.second_factor_at_provider = True  # type: ignore[attr-defined]  # ours, on Django's request


def next_after_sign_in(request: HttpRequest, url: str) -> str:
    held = request.session.get(ON_HOLD)
    return f"{held}?{urlencode({'next': url})}" if held else url


def demanded(request: HttpRequest) -> HttpResponseRedirect | None:
    """Return the way to the second factor if this session needs one before it may use the admin."""
    user = request.user
    if settings.STAFF_SECOND_FACTOR == OFF or not user.is_authenticated or request.session.get(CONFIRMED):
        return None
    page = request.session.get(ON_HOLD) or page_for(user)
    return HttpResponseRedirect(f"{page}?{urlencode({'next': request.get_full_path()})}") if page else None


def has_just_signed_in(request: HttpRequest) -> bool:
    return bool(time.time() - request.session.get(SIGNED_IN_AT, 0) < FRESH_SECONDS)


def sign_in_anew(request: HttpRequest, query: str = "") -> HttpResponseRedirect:
    """Show the sign-in page, which would send a session on hold back to where it came from."""
    if ON_HOLD in request.session:
        logout(request)
    return HttpResponseRedirect(f"{settings.LOGIN_URL}?{query}")


@require_POST
def leave(request: HttpRequest) -> HttpResponseRedirect:
    """Sign out whoever cannot, or will not, confirm."""
    logout(request)
    return HttpResponseRedirect(settings.LOGIN_URL)


def confirming(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Guard a page that confirms a second factor: there must be one, which may have been removed meanwhile."""

    @wraps(view)
    def guarded(request: HttpRequest, **named: Any) -> HttpResponseBase:
        return view(request, **named) if is_set_up(request.user) else sign_in_anew(request)

    return guarded


def managed(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Guard a page that changes second factors: it takes a confirmed one or, for the first, to have just signed in."""

    @wraps(view)
    def guarded(request: HttpRequest, **named: Any) -> HttpResponseBase:
        user = request.user
        back = urlencode({"next": request.get_full_path()})
        set_up = is_set_up(user)
        if not user.is_authenticated or not (set_up or has_just_signed_in(request)):
            return sign_in_anew(request, back)
        if not (set_up or user.is_staff):
            raise PermissionDenied
        if set_up and not request.session.get(CONFIRMED):
            return HttpResponseRedirect(f"{page_for(user)}?{back}")
        return view(request, **named)

    return guarded


def _signed_in(sender: Any, request: HttpRequest, user: Any, **named: Any) -> None:
    session = request.session
    for name in (ON_HOLD, CONFIRMED):
        session.pop(name, None)
    session[SIGNED_IN_AT] = time.time()
    if settings.STAFF_SECOND_FACTOR == OFF:
        return
    if getattr(request, "second_factor_at_provider", False):
        session[CONFIRMED] = True
    elif page := page_for(user):
        session[ON_HOLD] = page


def _confirmed(sender: Any, request: HttpRequest, **named: Any) -> None:
    request.session.pop(ON_HOLD, None)
    request.session[CONFIRMED] = True
    # The name that the browser has was known before the second factor was shown.
    request.session.cycle_key()


def _added(sender: Any, request: HttpRequest, user: Any, authenticator: Authenticator, **named: Any) -> None:
    """Take a factor that was just set up for a confirmed one: the recovery codes are shown next."""
    record_authentication(request, user, "mfa", type=authenticator.type, reauthenticated=True)
    _confirmed(sender, request)


def connect() -> None:
    user_logged_in.connect(_signed_in)
    authenticator_used.connect(_confirmed)
    authenticator_added.connect(_added)
