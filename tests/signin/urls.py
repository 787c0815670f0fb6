"""All routes, with the pages that are mounted only if their settings are on."""

from django.urls import include, path

from chatservice.urls import *  # noqa: F403

urlpatterns = [
    path("login/openid", include("signin.openid_urls")),
    path("login/second-factor", include("signin.second_factor_urls")),
    *urlpatterns,  # noqa: F405
]
