"""DRF's and Django's face of the principal resolver."""

from __future__ import annotations

from django.http import HttpRequest
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework import exceptions
from rest_framework.authentication import BaseAuthentication

from accounts.principal import Caller, NotAdmitted, Principal, TooManyFailures, resolve_principal


def caller_of(request: HttpRequest) -> Caller:
    """Return what `request` shows of its sender."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    peer = request.META.get("REMOTE_ADDR", "") or ""
    return Caller(headers=headers, peer=peer, secure=request.is_secure(), method=request.method or "GET")


class PrincipalAuthentication(BaseAuthentication):
    """`request.user` is a Principal. Subclasses say who is admitted without a key, and how lax the header may be."""

    allow_guest = True
    sloppy = False

    def authenticate(self, request) -> tuple[Principal, Principal]:
        try:
            principal = resolve_principal(caller_of(request._request), allow_guest=self.allow_guest, sloppy=self.sloppy)
        except TooManyFailures as error:
            raise exceptions.Throttled(wait=error.retry_after, detail=error.message) from error
        except NotAdmitted as error:
            raise exceptions.AuthenticationFailed(error.message) from error
        return principal, principal

    def authenticate_header(self, request) -> str:
        return "Bearer"


class KeyAuthentication(PrincipalAuthentication):
    """No guests: the v1 API and the OpenAI surface need a key."""

    allow_guest = False


class SloppyKeyAuthentication(KeyAuthentication):
    """The OpenAI surface: its document prints `beareryour_key`."""

    sloppy = True


class BearerKeyScheme(OpenApiAuthenticationExtension):
    """How OpenAPI documents say it."""

    target_class = PrincipalAuthentication
    match_subclasses = True
    name = "key"

    def get_security_definition(self, auto_schema) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer"}
