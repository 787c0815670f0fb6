"""What django-allauth asks this service: who may sign in, where to go then, how secrets are kept."""

from __future__ import annotations

import base64
import logging
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core import context
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialApp, SocialLogin
from django.conf import settings
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from accounts.models import User
from signin import second_factor
from signin.context import refusal
from signin.identities import NotLinked, account_of, apply_claims, link
from signin.linking import who_links
from signin.signing_out import remember

logger = logging.getLogger(__name__)

NOT_SIGNED_IN = "You are not signed in"


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # it has no types
    def get_login_stages(self) -> list[str]:
        """Return none: the second factor is asked for after every kind of sign-in, by second_factor.py."""
        return []

    def post_login(self, request: HttpRequest, user: Any, **named: Any) -> HttpResponse:
        remember(request, named["signal_kwargs"]["sociallogin"])
        url = named["redirect_url"] or settings.LOGIN_REDIRECT_URL
        return HttpResponseRedirect(second_factor.next_after_sign_in(request, url))

    def is_reauthentication_required(self, *, app: str) -> bool:
        """Tell whether a second factor must be confirmed first: only if there is one, not to set the first one up."""
        return second_factor.is_set_up(context.request.user)

    def is_safe_url(self, url: str) -> bool:
        request = context.request
        return url_has_allowed_host_and_scheme(url, {request.get_host()}, require_https=request.is_secure())

    def add_message(self, *arguments: Any, **named: Any) -> None:
        """Show none: its messages would wait for the next page of the admin."""

    def get_login_redirect_url(self, request: HttpRequest) -> str:
        return settings.LOGIN_REDIRECT_URL


class SocialAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]  # it has no types
    def get_provider(self, request: HttpRequest, provider: str, client_id: str | None = None) -> Any:
        """Return the provider of the settings; none comes from the database. It is named by its issuer.

        Identities are found by this name and the subject, so those of a former provider are nobody's at the next one.
        """
        from signin.openid_provider import OpenIDProvider  # imported only where there is one

        if not settings.OIDC.is_on or provider != settings.OIDC.issuer:
            raise SocialApp.DoesNotExist
        app = SocialApp(
            provider="openid",
            provider_id=settings.OIDC.issuer,
            name=settings.OIDC.name,
            client_id=settings.OIDC.client_id,
            secret=settings.OIDC.client_secret,
        )
        return OpenIDProvider(request, app=app)

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        """Find the account, which allauth then signs in to: it never gets to its own sign-up."""
        claims = sociallogin.claims
        user: Any = sociallogin.user
        try:
            if not sociallogin.is_existing:
                with transaction.atomic():
                    user = who_links(request) or account_of(claims)
                    sociallogin.account = link(user=user, subject=claims["sub"])
                sociallogin.user = user
        except NotLinked as problem:
            raise refusal(403, NOT_SIGNED_IN, str(problem)) from problem
        except IntegrityError as error:  # another sign-in, begun at the same time, was faster
            raise refusal(409, NOT_SIGNED_IN, "Somebody signs in as you at this moment. Try again.") from error
        if not user.is_active:
            raise refusal(403, NOT_SIGNED_IN, "This account is not active.")
        apply_claims(user=user, claims=claims)
        methods = claims.get("amr")
        if isinstance(methods, list) and settings.OIDC.second_factor & {str(method) for method in methods}:
            second_factor.trust_provider(request)

    def populate_user(self, request: HttpRequest, sociallogin: SocialLogin, data: dict[str, Any]) -> User:
        user: User = sociallogin.user
        return user

    def on_authentication_error(
        self, request: HttpRequest, provider: Any, error: Any = None, exception: Any = None, extra_context: Any = None
    ) -> None:
        """Answer with a page that explains it to the person; the log says why."""
        logger.warning("a sign-in with the OpenID provider failed: %s", _reason(request, error, exception))
        again = f"Try again at {request.build_absolute_uri(reverse('login'))}."
        told = f"The answer of {settings.OIDC.name} was not accepted. {again}"
        raise refusal(403, NOT_SIGNED_IN, told)


def _reason(request: HttpRequest, error: Any, exception: Any) -> str:
    """Return what the log may say: nothing that the provider sent in place of tokens, which may be one."""
    if exception is None:
        return repr(request.GET.get("error", "no such sign-in was begun (state)")[:200])
    message = "" if str(exception).startswith("Error retrieving access token") else f": {str(exception)[:200]!r}"
    return f"{type(exception).__name__}{message or ': the provider gave no tokens for the code'}"


class SecondFactorAdapter(DefaultMFAAdapter):  # type: ignore[misc]  # it has no types
    """Encrypts the secrets of second factors under KEY_PEPPER: a stolen database signs nobody in."""

    def encrypt(self, text: str) -> str:
        return str(_cipher().encrypt(text.encode()).decode())

    def decrypt(self, encrypted_text: str) -> str:
        return str(_cipher().decrypt(encrypted_text.encode()).decode())


def _cipher() -> Any:
    from cryptography.fernet import Fernet  # imported only where somebody has a second factor
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"signin.second_factor")
    return Fernet(base64.urlsafe_b64encode(derived.derive(settings.KEY_PEPPER.encode())))
