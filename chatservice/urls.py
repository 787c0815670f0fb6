"""Where everything is mounted: the pages, health, documentation, admin, and each dialect at its own path."""

from __future__ import annotations

from django.conf import settings
from django.contrib import admin
from django.urls import include, path

from chatservice import docs, message_file_views, views
from chatservice.dialects import DIALECTS
from pages import shared
from pages import views as pages

urlpatterns = [
    # The middleware calls these two before routing; they are listed here so that all routes are in one place.
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
    path("", pages.chat, name="chat"),
    path("profile", pages.profile, name="profile"),
    path("login", pages.SignIn.as_view(), name="login"),
    path("logout", pages.sign_out, name="logout"),
    path("login", include("signin.urls")),
    path("files", include(message_file_views.urlpatterns)),
    path("shared/<str:token>", shared.shared, name="shared"),
    path("shared/<str:token>/pictures/<str:file_id>", shared.shared_picture, name="shared-picture"),
    *([path("admin/", admin.site.urls)] if settings.ADMIN_ENABLED else []),
    # The longest mount first: a dialect may be mounted inside another one's path.
    *(
        path(DIALECTS[name], include(f"chatservice.dialects.{name}.urls"))
        for name in sorted(DIALECTS, key=lambda name: -len(DIALECTS[name]))
    ),
]
if settings.DOCS:
    urlpatterns += [
        path("docs", docs.swagger, name="docs"),
        path("schema/<str:dialect>", docs.schema, name="schema"),
    ]

handler404 = "chatservice.views.not_found"
handler500 = "chatservice.views.server_error"
handler400 = "chatservice.views.bad_request"
handler403 = "chatservice.views.forbidden"
