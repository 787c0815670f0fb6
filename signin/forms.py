"""The form that takes a code: within the limits of accounts/password_attempts.py, and each code once."""

from __future__ import annotations

from allauth.core import context
from allauth.mfa.adapter import get_adapter
from allauth.mfa.base.forms import ReauthenticateForm
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value, yield_hotp_counters_from_time
from django.core.exceptions import ValidationError
from django.db import transaction

from accounts.authentication import caller_of
from accounts.password_attempts import TooManyAttempts, password_attempt

DEVICE = "second factor"
"""The `device` under which wrong codes are counted: whoever guesses one knows the password."""


class ConfirmForm(ReauthenticateForm):  # type: ignore[misc]  # it has no types
    """A code of the app, or a recovery code. `retry_after` is in seconds, 0 unless a limit kept the code unchecked."""

    retry_after = 0

    def clean_code(self) -> str:
        address = caller_of(context.request).address
        try:
            with password_attempt(self.user.username, address, device=DEVICE), transaction.atomic():
                code: str = super().clean_code()
                if self.authenticator.type == Authenticator.Type.TOTP:
                    use_once(self.authenticator, code)
        except TooManyAttempts as refusal:
            self.retry_after = refusal.retry_after
            raise ValidationError(refusal.message, code="limit") from refusal
        return code


def use_once(authenticator: Authenticator, code: str) -> None:
    """Refuse a code that was used, or is older than the last one used; allauth remembers it in one process only."""
    row = Authenticator.objects.select_for_update().get(pk=authenticator.pk)
    secret = get_adapter().decrypt(row.data["secret"])
    used = next(
        (count for count in yield_hotp_counters_from_time() if format_hotp_value(hotp_value(secret, count)) == code), 0
    )
    if used <= row.data.get("last_counter", -1):
        raise get_adapter().validation_error("incorrect_code")
    row.data["last_counter"] = used
    row.save(update_fields=["data"])
