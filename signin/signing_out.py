"""Signing out at the OpenID provider, too: the browser is sent there (OpenID Connect RP-Initiated Logout)."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from allauth.socialaccount.models import SocialLogin
from django.conf import settings
from django.contrib.auth.signals import user_logged_out
from django.http import HttpRequest
from django.urls import reverse

KEPT = "openid_sign_out"


def remember(request: HttpRequest, login: SocialLogin) -> None:
    """Keep in the session what the provider wants to see again; nothing of it without LOGOUT_AT_PROVIDER."""
    if settings.OIDC.sign_out and login.end_session:
        request.session[KEPT] = {"id_token": login.id_token, "address": login.end_session}


def provider_page(request: HttpRequest) -> str:
    """Return where to send a browser that is about to be signed out, '' if only this service is concerned."""
    kept = request.session.get(KEPT)
    if not (kept and settings.OIDC.sign_out):
        return ""
    told = {
        "id_token_hint": kept["id_token"],
        "client_id": settings.OIDC.client_id,
        "post_logout_redirect_uri": request.build_absolute_uri(reverse("login")),
    }
    sign = "&" if "?" in kept["address"] else "?"
    return f"{kept['address']}{sign}{urlencode(told)}"


def _note(sender: Any, request: HttpRequest | None, **named: Any) -> None:
    """The views that sign out read it from the request, since the session is gone by then."""
    if request is not None and hasattr(request, "session"):
        request.provider_page = provider_page(request)  # type: ignore[attr-defined]  # ours, on Django's request


def connect() -> None:
    user_logged_out.connect(_note)
