"""Adding a passkey and confirming a second factor by one, for browsers that send anything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from allauth.mfa.adapter import get_adapter
from allauth.mfa.models import Authenticator
from allauth.mfa.webauthn.forms import AddWebAuthnForm, ReauthenticateWebAuthnForm
from allauth.mfa.webauthn.views import ReauthenticateWebAuthnView
from django.http import HttpResponseBase


@contextmanager
def well_formed() -> Iterator[None]:
    """Turn what fido2 raises for a credential that is not one into a refusal."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise get_adapter().validation_error("incorrect_code") from error


class AddPasskeyForm(AddWebAuthnForm):  # type: ignore[misc]  # it has no types
    def clean(self) -> dict[str, Any]:
        with well_formed():
            cleaned: dict[str, Any] = super().clean()
        return cleaned


class ConfirmPasskeyForm(ReauthenticateWebAuthnForm):  # type: ignore[misc]  # it has no types
    def clean_credential(self) -> Authenticator:
        with well_formed():
            found: Authenticator = super().clean_credential()
        return found


class ConfirmPasskeyView(ReauthenticateWebAuthnView):  # type: ignore[misc]  # it has no types
    def form_invalid(self, form: Any) -> HttpResponseBase:
        """Ask again; allauth would send the browser to a page that is not mounted."""
        response: HttpResponseBase = self.render_to_response(self.get_context_data())
        return response
