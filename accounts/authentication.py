"""The principal resolver for DRF and for Django views."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework import exceptions
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from accounts.callers import Caller, NotAdmitted, Principal, TooManyFailures
from accounts.connections import connection_of
from accounts.principal import resolve_principal
from foundation.logs.context import current


def caller_of(request: HttpRequest) -> Caller:
    """Return the `Caller` that sent `request`."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    peer = request.META.get("REMOTE_ADDR", "") or ""
    return Caller(
        headers=headers,
        peer=peer,
        secure=request.is_secure(),
        method=request.method or "GET",
        connection=connection_of(getattr(request, "scope", {})),
    )


class PrincipalAuthentication(BaseAuthentication):
    """Sets `request.user` to a Principal. Subclasses define whether guests are admitted and how headers are read."""

    allow_guest = True
    lenient = False

    def authenticate(self, request: Request) -> tuple[Principal, Principal]:
        try:
            caller = caller_of(request._request)
            principal = resolve_principal(caller, allow_guest=self.allow_guest, lenient=self.lenient)
        except TooManyFailures:
            raise  # DRF's own exception for a 429 would drop the message, which names the limit
        except NotAdmitted as error:
            raise exceptions.AuthenticationFailed(error.message, code=error.code) from error
        current().note_caller(principal)
        return principal, principal

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class KeyAuthentication(PrincipalAuthentication):
    """Admits no guests: the v1 API and the OpenAI-compatible API need a key."""

    allow_guest = False


class LenientKeyAuthentication(KeyAuthentication):
    """For the OpenAI-compatible API, whose document prints `beareryour_key`."""

    lenient = True


class BearerKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # has half its types
    """Describes the authentication in OpenAPI documents."""

    target_class = PrincipalAuthentication
    match_subclasses = True
    name = "key"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer"}
