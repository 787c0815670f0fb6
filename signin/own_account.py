"""Pages on which people look after how they sign in: their password, and the browsers that they are signed in with."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.forms import PasswordChangeForm
from django.contrib.auth.views import PasswordChangeView
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse, reverse_lazy
from django.views.decorators.http import require_http_methods

from accounts.browser_sessions import sign_out_browser, sign_out_others, signed_in_browsers
from accounts.forms import OwnPasswordForm
from accounts.sessions import ON_HOLD
from signin.second_factor import demanded, sign_in_anew

ID = re.compile(r"[0-9]{1,18}\Z")


def signed_in(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Guard a page of whoever is signed in: a session on hold, or before a second factor, counts for nothing here."""

    @wraps(view)
    def guarded(request: HttpRequest, **named: Any) -> HttpResponseBase:
        if way := demanded(request):
            return way
        if not request.user.is_authenticated or ON_HOLD in request.session:
            return sign_in_anew(request, urlencode({"next": request.get_full_path()}))
        return view(request, **named)

    return guarded


def can_change_password(user: Any) -> bool:
    return settings.PASSWORD_SIGN_IN and user.has_usable_password()


class PasswordView(PasswordChangeView):
    """Changes the password. Sessions that were begun with the former one end; this one stays."""

    template_name = "password.html"
    form_class = OwnPasswordForm
    success_url = reverse_lazy("browsers")

    def dispatch(self, *arguments: Any, **named: Any) -> HttpResponseBase:
        if not can_change_password(self.request.user):
            raise Http404
        return super().dispatch(*arguments, **named)

    def get_form_kwargs(self) -> dict[str, Any]:
        return {**super().get_form_kwargs(), "request": self.request}

    def form_valid(self, form: PasswordChangeForm) -> HttpResponse:
        response = super().form_valid(form)
        sign_out_others(user=form.user, but=self.request.session.session_key)
        messages.success(self.request, "Your password is changed, and all other browsers are signed out.")
        return response


@require_http_methods(["GET", "POST"])
def browsers(request: HttpRequest) -> HttpResponse:
    """Show the browsers that the user is signed in with; sign one of them out, or all others."""
    user: Any = request.user
    this_one = request.session.session_key
    if request.method == "POST":
        wanted = request.POST.get("browser", "")
        if wanted == "others":
            sign_out_others(user=user, but=this_one)
        elif ID.match(wanted):
            sign_out_browser(user=user, pk=int(wanted), but=this_one)
        messages.success(request, "All other browsers are signed out." if wanted == "others" else "It is signed out.")
        return HttpResponseRedirect(reverse("browsers"))
    rows = signed_in_browsers(user)
    found = [{"row": row, "is_this": row.session_id == this_one} for row in rows]
    shown = {"browsers": found, "has_others": len(found) > 1, "can_change_password": can_change_password(user)}
    return render(request, "browsers.html", shown)
