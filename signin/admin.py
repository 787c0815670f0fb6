"""Takes the pages of django-allauth out of the admin: identities and second factors are changed by manage.py."""

from __future__ import annotations

import allauth.account.admin
import allauth.mfa.admin
import allauth.socialaccount.admin  # noqa: F401  they register their pages when they are imported
from django.apps import apps
from django.contrib import admin

for label in ("account", "socialaccount", "mfa"):
    for model in apps.get_app_config(label).get_models():
        if admin.site.is_registered(model):
            admin.site.unregister(model)
