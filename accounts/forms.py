"""Signing in with username and password: so many attempts a minute from one address, and no hint who exists."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.forms import AuthenticationForm
from django.core.exceptions import ValidationError

from accounts import throttling
from accounts.authentication import caller_of
from accounts.services import MAX_PASSWORD


class SignInForm(AuthenticationForm):
    """Every attempt is counted before the password is looked at, right ones too. `retry_after` is in seconds."""

    retry_after = 0

    def clean(self) -> dict[str, Any]:
        address = caller_of(self.request).address if self.request is not None else ""
        wait = throttling.hit(f"signin:{address}", limit=settings.LIMIT_AUTH_FAILURES_PER_MINUTE)
        if wait:
            self.retry_after = wait
            raise ValidationError(f"Too many attempts from this address. Try again in {wait} seconds.", code="limit")
        if len(self.cleaned_data.get("password") or "") > MAX_PASSWORD:
            raise self.get_invalid_login_error()
        return super().clean()


class StaffSignInForm(SignInForm, AdminAuthenticationForm):
    """The same for the admin site."""
