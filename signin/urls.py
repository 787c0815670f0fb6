"""The pages of signing in, below /login: none is mounted unless its setting is on, and nothing else of allauth."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.urls import include, path

# What is off is not even imported.
urlpatterns: list[Any] = [
    *([path("/openid", include("signin.openid_urls"))] if settings.OIDC.is_on else []),
    *([path("/second-factor", include("signin.second_factor_urls"))] if settings.STAFF_SECOND_FACTOR != "off" else []),
]
