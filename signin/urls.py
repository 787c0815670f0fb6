"""The pages of signing in, below /login: those with a setting only if it is on, and nothing else of allauth."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.urls import include, path

from signin.context import page
from signin.own_account import PasswordView, browsers, signed_in

# What is off is not even imported.
urlpatterns: list[Any] = [
    path("/browsers", page(signed_in(browsers)), name="browsers"),
    path("/password", page(signed_in(PasswordView.as_view())), name="password"),
    *([path("/openid", include("signin.openid_urls"))] if settings.OIDC.is_on else []),
    *([path("/second-factor", include("signin.second_factor_urls"))] if settings.STAFF_SECOND_FACTOR != "off" else []),
]
