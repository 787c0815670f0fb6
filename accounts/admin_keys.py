"""Keys for staff: whose they are, what they may do and where they were used. A key's secret cannot be read here."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Case, Exists, OuterRef, Value, When
from django.db.models.functions import Concat
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse

from accounts.admin_related import RELATED, Related
from accounts.erasing import without_erased
from accounts.models import ApiKey, User
from accounts.services import revoke_api_key
from foundation.admin_base import DatesFilter, HistoryAdmin, MadeFilter, TextFilter
from foundation.admin_links import Link, list_of, page_of, to_user

SHOWN_USES = 30
REVOKING = (
    "The key stops working within a second, and so do the keys that were made with it. Nothing brings it back: "
    "its owner needs another one."
)


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("usable", "Usable"), ("unusable", "Revoked, expired or disabled")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        usable = Exists(ApiKey.objects.usable().filter(pk=OuterRef("pk")))
        match self.value():
            case "usable":
                return queryset.filter(usable)
            case "unusable":
                return queryset.filter(~usable)
        return queryset


class OwnerFilter(TextFilter):
    title = "owner"
    parameter_name = "owner"
    placeholder = "username"
    column = "user"

    def sought(self) -> Any:
        return User.objects.named(self.text())


def key_of(field: str, row: ApiKey) -> tuple[str, str]:
    key = getattr(row, field)
    return (str(key), page_of("accounts_apikey", key.pk)) if key is not None else ("-", "")


@admin.register(ApiKey)
class ApiKeyAdmin(HistoryAdmin):
    """Keys are made by their owners, by `manage.py create_api_key`, and on the pages of accounts: shown there once."""

    list_display = ("shown", "name", "user", "allowed", "created_at", "expires_at", "last_used_at", "revoked_at")
    list_filter = (StateFilter, OwnerFilter, MadeFilter, DatesFilter)
    change_form_template = "admin/accounts/apikey/change_form.html"
    search_fields = ("kid__startswith", "user__username__istartswith")
    search_help_text = "Start of a key (without cb_) or of its owner's username"
    fields = readonly_fields = (
        *("shown", "name", "user", "allowed", "from_networks", "may_change_credentials", "issued_by", "replaces"),
        *("created_at", "expires_at", "last_used_at", "revoked_at", "used_from"),
    )
    ordering = ("-id",)
    sortable_by = ()
    actions = ("revoke",)
    links = {
        "user": to_user(),
        **{name: Link("accounts.view_apikey", partial(key_of, name)) for name in ("issued_by", "replaces")},
    }

    def get_queryset(self, request: HttpRequest) -> Any:
        return without_erased(super().get_queryset(request).select_related("user", "issued_by", "replaces"), "user")

    @admin.display(description="key", ordering="kid")
    def shown(self, key: ApiKey) -> str:
        return f"cb_{key.kid}…"

    @admin.display(description="scopes")
    def allowed(self, key: ApiKey) -> str:
        return "all" if key.scopes is None else ", ".join(key.scopes)

    @admin.display(description="networks")
    def from_networks(self, key: ApiKey) -> str:
        return ", ".join(key.networks) if key.networks else "any"

    @admin.display(description="used from")
    def used_from(self, key: ApiKey) -> str:
        return "; ".join(str(use) for use in key.uses.all()[:SHOWN_USES]) or "—"

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A key can be revoked but stays on record; it is deleted with its owner."""
        return False

    def has_revoke_permission(self, request: HttpRequest, key: ApiKey | None = None) -> bool:
        """Let staff with the permission end keys, but only superusers a superuser's."""
        is_above = key is not None and key.user.is_superuser and not request.user.is_superuser
        return request.user.has_perm("accounts.change_apikey") and not is_above

    def get_urls(self) -> list[Any]:
        revoke = self.admin_site.admin_view(self.revoke_view)
        return [path("<path:object_id>/revoke/", revoke, name="accounts_apikey_revoke"), *super().get_urls()]

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        key = context["original"]
        context["may_end"] = (
            self.has_revoke_permission(request, key) and ApiKey.objects.usable().filter(pk=key.pk).exists()
        )
        return super().render_change_form(request, context, *args, **kwargs)

    def key_to_end(self, request: HttpRequest, object_id: str) -> ApiKey:
        """Return a key that this staff member may revoke or rotate; raises PermissionDenied and Http404."""
        key: ApiKey | None = self.get_object(request, object_id)
        if not self.has_revoke_permission(request, key):
            raise PermissionDenied
        if key is None:
            raise Http404
        return key

    def revoke_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for confirmation, then revoke one key."""
        key = self.key_to_end(request, object_id)
        if request.method != "POST":
            title = f"Revoke the key {key} of {key.user}"
            context = {**self.admin_site.each_context(request), "title": title, "opts": self.opts, "key": key}
            return TemplateResponse(request, "admin/accounts/apikey/revoke.html", {**context, "explanation": REVOKING})
        revoke_api_key(key=key)
        self.log_change(request, key, "Revoked")
        self.message_user(request, f"The key {key} was revoked.")
        return HttpResponseRedirect(reverse("admin:accounts_apikey_change", args=[key.pk]))

    @admin.action(description="Revoke the selected keys", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: Any) -> None:
        revoked = [key for key in queryset if self.has_revoke_permission(request, key)]
        for key in revoked:
            revoke_api_key(key=key)
            self.log_change(request, key, "Revoked")
        self.message_user(request, f"{len(revoked)} keys were revoked.")


REVOKED = Case(When(revoked_at=None, then=Value("")), default=Value(", revoked"))
RELATED.append(
    Related(
        title="Keys",
        permission="accounts.view_apikey",
        address=lambda user: list_of("accounts_apikey", owner=user.username),
        latest=lambda user: ApiKey.objects.filter(user=user).order_by("-id"),
        words=Concat("name", Value(" cb_"), "kid", REVOKED),
        page=partial(page_of, "accounts_apikey"),
    )
)
