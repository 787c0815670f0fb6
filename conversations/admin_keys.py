"""Makes keys for users in the admin, shown once. Whoever holds a user's key can read what the user said.

So it takes the permission for that and a reason, and the user sees it in the access log.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path
from django.utils import timezone

from accounts.addresses import read_network
from accounts.admin import AccountAdmin
from accounts.admin_keys import ApiKeyAdmin
from accounts.models import ApiKey, User
from accounts.rotation import MAX_OVERLAP_HOURS, OVERLAP_HOURS, NotRotatable, rotate_api_key
from accounts.scopes import MEANINGS, Scope
from accounts.services import issue_api_key
from conversations.access_log import may_read_content, record_accesses
from conversations.access_reasons import ReasonForm
from conversations.models import AccessLogEntry
from foundation.admin_links import page_of

TEMPLATE = "admin/accounts/apikey/make.html"
EXPLANATION = (
    "Whoever holds the key acts as this user, and can read what its scopes allow. The user sees in the access log who "
    "made it, when and why."
)
MAX_DAYS = 3_650

admin.site.unregister([User, ApiKey])


class IssueForm(ReasonForm):
    name = forms.CharField(label="What is it for?", max_length=100, required=False)
    days = forms.IntegerField(label="Valid for this many days; empty is until it is revoked", required=False)
    scopes = forms.MultipleChoiceField(
        label="It may",
        choices=[(scope.value, f"{scope}: {meaning}") for scope, meaning in MEANINGS.items()],
        widget=forms.CheckboxSelectMultiple,
        initial=[Scope.READ, Scope.GENERATE],
    )
    networks = forms.CharField(label="From these networks; empty is anywhere", required=False, max_length=1_000)
    field_order = ("name", "days", "scopes", "networks", "reason")

    def clean_days(self) -> int | None:
        days: int | None = self.cleaned_data["days"]
        if days is not None and not 0 < days <= MAX_DAYS:
            raise forms.ValidationError(f"A number from 1 to {MAX_DAYS}.")
        return days

    def clean_networks(self) -> list[str]:
        try:
            return [read_network(each) for each in self.cleaned_data["networks"].split(",") if each.strip()]
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error


class RotateForm(ReasonForm):
    overlap_hours = forms.IntegerField(
        label="Hours for which the old key keeps working",
        min_value=0,
        max_value=MAX_OVERLAP_HOURS,
        initial=OVERLAP_HOURS,
    )
    field_order = ("overlap_hours", "reason")


def context_of(request: HttpRequest, form: forms.Form, origin: User | ApiKey, title: str) -> dict[str, Any]:
    """Return the context of the page that makes a key for a user, or in place of another key."""
    return {
        **admin.site.each_context(request),
        "title": title,
        "opts": ApiKey._meta,
        "form": form,
        "explanation": EXPLANATION,
        "back": page_of(origin._meta.label_lower.replace(".", "_"), origin.pk),
        "origin": origin,
    }


def record(request: HttpRequest, user: User, form: forms.Form) -> None:
    """Write into the access log that this reader gets a key of the user."""
    kind, reason = AccessLogEntry.Kind.KEY, form.cleaned_data["reason"]
    record_accesses(reader=request.user, kind=kind, reason=reason, conversations=[(None, user.pk)])


@admin.register(User)
class KeyIssuingAdmin(AccountAdmin):
    def get_urls(self) -> list[Any]:
        issue = self.admin_site.admin_view(self.issue_key_view)
        return [path("<path:object_id>/issue-key/", issue, name="accounts_user_issue_key"), *super().get_urls()]

    def has_issue_permission(self, request: HttpRequest, user: User | None) -> bool:
        """Let staff with both permissions make keys, but only superusers a superuser's."""
        is_above = user is not None and user.is_superuser and not request.user.is_superuser
        return request.user.has_perm("accounts.add_apikey") and may_read_content(request.user) and not is_above

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        user = context.get("original")
        context["may_issue_key"] = user is not None and user.is_active and self.has_issue_permission(request, user)
        return super().render_change_form(request, context, *args, **kwargs)

    def issue_key_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask what the key may do and why it is made; then make it, and show it once."""
        user = self.get_object(request, unquote(object_id))
        if not self.has_issue_permission(request, user):
            raise PermissionDenied
        if user is None or not user.is_active:
            raise Http404
        form = IssueForm(request.POST if request.method == "POST" else None)
        context = context_of(request, form, user, f"Issue a key for {user}")
        if form.is_valid():
            given = form.cleaned_data
            with transaction.atomic():
                record(request, user, form)
                context["key"], context["text"] = issue_api_key(
                    user=user,
                    name=given["name"],
                    expires_at=timezone.now() + dt.timedelta(days=given["days"]) if given["days"] else None,
                    scopes=[scope for scope in Scope if scope in given["scopes"]],
                    networks=given["networks"] or None,
                )
                self.log_change(request, user, f"Issued the key {context['key']}")
        return TemplateResponse(request, TEMPLATE, context)


@admin.register(ApiKey)
class KeyRotatingAdmin(ApiKeyAdmin):
    def get_urls(self) -> list[Any]:
        rotate = self.admin_site.admin_view(self.rotate_view)
        return [path("<path:object_id>/rotate/", rotate, name="accounts_apikey_rotate"), *super().get_urls()]

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        context["may_show_keys"] = may_read_content(request.user)
        return super().render_change_form(request, context, *args, **kwargs)

    def rotate_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for how long the old key keeps working and why; then make its successor, and show it once."""
        key = self.key_to_end(request, object_id)
        if not may_read_content(request.user):
            raise PermissionDenied
        form = RotateForm(request.POST if request.method == "POST" else None)
        context = context_of(request, form, key, f"Rotate the key {key}")
        if form.is_valid():
            try:
                with transaction.atomic():
                    record(request, key.user, form)
                    made = rotate_api_key(key=key, overlap_hours=form.cleaned_data["overlap_hours"])
                    context["key"], context["text"] = made
                    self.log_change(request, key, f"Rotated: {context['key']} replaces it")
            except NotRotatable as error:
                context["problem"] = str(error)
            else:
                key.refresh_from_db(fields=["expires_at"])
                context["old"] = key
        return TemplateResponse(request, TEMPLATE, context)
