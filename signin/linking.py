"""Linking the account one is signed in to with who one is at the OpenID provider."""

from __future__ import annotations

import time
from urllib.parse import urlencode

from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from accounts.models import User
from accounts.sessions import ON_HOLD
from signin.second_factor import has_just_signed_in, sign_in_anew

WANTED = "openid_link"
SECONDS = 600  # in which the provider has to answer


@require_http_methods(["GET", "POST"])
def link_page(request: HttpRequest) -> HttpResponse:
    """Ask whether to link, and go on to the provider: only for who has just signed in, as it adds a way to do so."""
    user = request.user
    if not user.is_authenticated or ON_HOLD in request.session or not has_just_signed_in(request):
        return sign_in_anew(request, urlencode({"next": request.get_full_path()}))
    if request.method == "POST":
        request.session[WANTED] = {"user": str(user.pk), "until": time.time() + SECONDS}
        response = HttpResponse()
        # No redirect: form-action in the Content-Security-Policy covers those after a form, up to the provider's.
        way = f"{reverse('openid_sign_in')}?{urlencode({'next': reverse('profile')})}"
        response.headers["Refresh"] = f"0; url={way}"
        return response
    identities = SocialAccount.objects.filter(user=user, provider=settings.OIDC.issuer)
    return render(request, "openid_link.html", {"provider": settings.OIDC.name, "identities": identities})


def who_links(request: HttpRequest) -> User | None:
    """Return who asked in this browser to be linked with the next sign-in at the provider, once."""
    wanted = request.session.pop(WANTED, None)
    user = request.user
    if not (wanted and isinstance(user, User)) or wanted["user"] != str(user.pk) or wanted["until"] < time.time():
        return None
    return User.objects.get(pk=user.pk)
