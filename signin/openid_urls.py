"""Signing in at the OpenID provider."""

from __future__ import annotations

from django.urls import path

from signin import views
from signin.context import page

urlpatterns = [
    path("", page(views.start), name="openid_sign_in"),
    path("/callback", page(views.answer), name="openid_callback"),
]
