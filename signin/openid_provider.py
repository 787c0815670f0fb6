"""The OpenID provider of the settings: allauth's authorization code flow with PKCE, and with a verified ID token."""

from __future__ import annotations

import secrets
import time
from functools import partial
from typing import Any

from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.models import SocialLogin, SocialToken
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from foundation.database import release_connection
from signin.id_tokens import verified_claims

DISCOVERY = "/.well-known/openid-configuration"
KEPT_SECONDS = 60.0


_documents: dict[str, tuple[float, dict[str, Any]]] = {}


def document_at(url: str, *, anew: bool = False) -> dict[str, Any]:
    """Return one of the provider's documents, at most KEPT_SECONDS old; raises RequestException."""
    known = _documents.get(url)
    if known and not anew and time.monotonic() < known[0]:
        return known[1]
    release_connection()
    with get_adapter().get_requests_session() as session:
        response = session.get(url)
        response.raise_for_status()
        found: dict[str, Any] = response.json()
    _documents[url] = (time.monotonic() + KEPT_SECONDS, found)
    return found


def forget_documents() -> None:
    _documents.clear()


class OpenIDAdapter(OpenIDConnectOAuth2Adapter):  # type: ignore[misc]  # it has no types
    """Talks to the provider. `nonce` is that of the sign-in whose answer is read."""

    nonce = ""

    @property
    def openid_config(self) -> dict[str, Any]:
        found = document_at(self.get_provider().server_url)
        # Otherwise another provider, whose address was entered by mistake, could speak for this one.
        if str(found.get("issuer", "")).rstrip("/") != settings.OIDC.issuer.rstrip("/"):
            raise OAuth2Error("the provider calls itself otherwise than OIDC_ISSUER")
        return found

    def complete_login(self, request: HttpRequest, app: Any, token: SocialToken, **named: Any) -> SocialLogin:
        text = named["response"].get("id_token")
        if not isinstance(text, str):
            raise OAuth2Error("the provider sent no ID token")
        claims = verified_claims(
            text,
            key_set=partial(document_at, self.openid_config["jwks_uri"]),
            issuer=self.openid_config["issuer"],
            client_id=app.client_id,
            nonce=self.nonce,
        )
        if self.openid_config.get("userinfo_endpoint"):
            more = self._fetch_user_info(token.token)
            if more.get("sub") != claims["sub"]:
                raise OAuth2Error("the provider told about somebody else (sub)")
            claims = {**more, **claims}
        login = self.get_provider().sociallogin_from_response(request, claims)
        login.claims, login.id_token = claims, text
        login.end_session = self.openid_config.get("end_session_endpoint", "")
        return login

    def get_callback_url(self, request: HttpRequest, app: Any) -> str:
        return request.build_absolute_uri(reverse("openid_callback"))

    def get_access_token_data(self, *arguments: Any, **named: Any) -> dict[str, Any]:
        release_connection()  # the provider may be slow, and others need the connections of the pool
        found: dict[str, Any] = super().get_access_token_data(*arguments, **named)
        return found


class OpenIDProvider(OpenIDConnectProvider):  # type: ignore[misc]  # it has no types
    id = "openid"
    oauth2_adapter_class = OpenIDAdapter
    pkce_enabled_default = True
    supports_token_authentication = False

    @property
    def server_url(self) -> str:
        return f"{settings.OIDC.issuer.rstrip('/')}{DISCOVERY}"

    def get_scope(self) -> list[str]:
        return list(settings.OIDC.scopes)

    def redirect_from_request(self, request: HttpRequest) -> HttpResponse:
        """Send the browser to the provider. Nothing in the request but `next` matters, unlike in allauth."""
        kwargs = super(OpenIDConnectProvider, self).get_redirect_from_request_kwargs(request)
        nonce = secrets.token_urlsafe(32)
        asked = {"auth_params": {"nonce": nonce}, "scope": self.get_scope()}
        response: HttpResponse = self.redirect(request, "login", kwargs.get("next_url"), nonce=nonce, **asked)
        return response

    def extract_uid(self, data: dict[str, Any]) -> str:
        return str(data["sub"])

    def extract_extra_data(self, data: dict[str, Any]) -> dict[str, Any]:
        """Keep only by what name staff recognise an identity."""
        return {"name": str(data.get("preferred_username") or data.get("email") or data.get("name") or "")[:200]}

    def extract_common_fields(self, data: dict[str, Any]) -> dict[str, Any]:
        return {}

    def extract_email_addresses(self, data: dict[str, Any]) -> list[Any]:
        return []
