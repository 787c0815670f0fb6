"""Signing in at the OpenID provider."""

from __future__ import annotations

from django.urls import path

from signin import views
from signin.context import page
from signin.linking import link_page

urlpatterns = [
    path("", page(views.start), name="openid_sign_in"),
    path("/link", page(link_page), name="openid_link"),
    path("/callback", page(views.answer), name="openid_callback"),
]
