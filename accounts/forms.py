"""Forms that check a password, within the limits of password_attempts.py; none reveals which accounts exist."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.admin.forms import AdminAuthenticationForm, AdminPasswordChangeForm
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm
from django.core.exceptions import ValidationError
from django.core.validators import MaxLengthValidator
from django.http import HttpRequest, HttpResponseBase

from accounts.authentication import caller_of
from accounts.password_attempts import (
    COOKIE,
    COOKIE_SECONDS,
    SIGNED_IN,
    TooManyAttempts,
    cookie_for,
    device_in,
    password_attempt,
)
from accounts.services import MAX_PASSWORD

NO_PASSWORDS = "Signing in with a password is turned off here (PASSWORD_SIGN_IN)."


class SignInForm(AuthenticationForm):
    """Username and password. `retry_after` is in seconds, 0 unless a limit kept the password from being checked."""

    retry_after = 0

    def confirm_login_allowed(self, user: Any) -> None:
        super().confirm_login_allowed(user)
        if user.is_service:
            raise self.get_invalid_login_error()

    def clean(self) -> dict[str, Any]:
        username, password = self.cleaned_data.get("username"), self.cleaned_data.get("password")
        if not settings.PASSWORD_SIGN_IN:
            raise ValidationError(NO_PASSWORDS, code="off")
        if username is None or not password or self.request is None:
            return super().clean()
        cookie = self.request.COOKIES.get(COOKIE, "")
        device = device_in(cookie, username)
        try:
            with password_attempt(username, caller_of(self.request).address, device=device):
                if len(password) > MAX_PASSWORD:
                    raise self.get_invalid_login_error()
                cleaned = super().clean()
        except TooManyAttempts as refusal:
            self.retry_after = refusal.retry_after
            raise ValidationError(refusal.message, code="limit") from refusal
        self.request.device_cookie = cookie_for(cookie, username)  # type: ignore[attr-defined]  # for finish_attempt
        return cleaned


class StaffSignInForm(SignInForm, AdminAuthenticationForm):
    """The sign-in form of the admin site."""


class OwnPasswordForm(PasswordChangeForm):
    """Changes the password of a user who is signed in and knows the old one."""

    retry_after = 0

    def __init__(self, *arguments: Any, request: HttpRequest, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.request = request
        for field in self.fields.values():
            field.validators.append(MaxLengthValidator(MAX_PASSWORD))

    def clean_old_password(self) -> str:
        try:
            with password_attempt(self.user.username, caller_of(self.request).address, device=SIGNED_IN):
                return super().clean_old_password()
        except TooManyAttempts as refusal:
            self.retry_after = refusal.retry_after
            raise ValidationError(refusal.message, code="limit") from refusal


class StaffPasswordForm(OwnPasswordForm, AdminPasswordChangeForm):
    """The same form of the admin site."""


def finish_attempt(request: HttpRequest, response: HttpResponseBase) -> None:
    """Set the status of a response to one of these forms, and the cookie that marks the browser as known."""
    form = (getattr(response, "context_data", None) or {}).get("form")
    if wait := getattr(form, "retry_after", 0):
        response.status_code = 429
        response.headers["Retry-After"] = str(wait)
    if cookie := getattr(request, "device_cookie", ""):
        response.set_cookie(
            COOKIE,
            cookie,
            max_age=COOKIE_SECONDS,
            path=settings.SESSION_COOKIE_PATH,
            secure=settings.SESSION_COOKIE_SECURE,
            httponly=True,
            samesite=settings.SESSION_COOKIE_SAMESITE,
        )
