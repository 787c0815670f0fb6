"""Starting a sign-in at the OpenID provider, and taking its answer."""

from __future__ import annotations

import logging
from typing import Any

from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.views.decorators.http import require_GET
from requests import RequestException

from accounts.addresses import address_key
from accounts.authentication import caller_of
from accounts.throttling import hit
from signin.context import refusal
from signin.openid_provider import OpenIDAdapter

logger = logging.getLogger(__name__)

STARTS_PER_MINUTE = 60  # for one address: each stores a session
# What a provider's answer that is not in the form of the standard raises, wherever it is read.
MALFORMED = (KeyError, TypeError, ValueError, AttributeError)


@require_GET
def start(request: HttpRequest) -> HttpResponseBase:
    """Send the browser to the provider. Another site's page must not begin it: its visitor would be signed in."""
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return HttpResponseRedirect(settings.LOGIN_URL)
    if wait := hit(f"openid:{address_key(caller_of(request).address)}", limit=STARTS_PER_MINUTE):
        message = f"At most {STARTS_PER_MINUTE} sign-ins a minute can be begun from one address."
        raise refusal(429, "Too many sign-ins", message, retry_after=wait)
    provider = get_adapter().get_provider(request, settings.OIDC.issuer)
    try:
        response: HttpResponseBase = provider.redirect_from_request(request)
    except (RequestException, OAuth2Error, *MALFORMED) as error:
        logger.error("the OpenID provider cannot be used: %s: %s", type(error).__name__, str(error)[:200])
        message = f"{settings.OIDC.name} cannot be reached, or is not what OIDC_ISSUER names. The log says more."
        raise refusal(502, "Signing in does not work", message) from error
    return response


class AnswerView(OAuth2CallbackView):  # type: ignore[misc]  # it has no types
    """Takes the answer to a sign-in that this browser began: each `state` is taken once."""

    def _get_state(self, request: HttpRequest, provider: Any) -> tuple[dict[str, Any] | None, Any]:
        state, response = super()._get_state(request, provider)
        if state is not None:
            self.adapter.nonce = state.get("nonce", "")
            sender = request.GET.get("iss", settings.OIDC.issuer)  # RFC 9207
            if sender.rstrip("/") != settings.OIDC.issuer.rstrip("/"):
                return None, self.refused(request, OAuth2Error("the answer is another provider's (iss)"))
        return state, response

    def dispatch(self, request: HttpRequest, *arguments: Any, **named: Any) -> HttpResponseBase:
        try:
            response: HttpResponseBase = super().dispatch(request, *arguments, **named)
        except (RequestException, OAuth2Error, *MALFORMED) as error:
            response = self.refused(request, error)
        return response

    def refused(self, request: HttpRequest, error: Exception) -> Any:
        get_adapter().on_authentication_error(request, None, exception=error)


@require_GET
def answer(request: HttpRequest) -> HttpResponseBase:
    response: HttpResponseBase = AnswerView.adapter_view(OpenIDAdapter(request, settings.OIDC.issuer))(request)
    return response
