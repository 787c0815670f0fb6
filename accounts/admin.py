"""Accounts and keys for staff. A key's secret cannot be read here, but the key can be revoked."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.contrib.auth.admin import UserAdmin
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Exists, OuterRef
from django.http import HttpRequest

from accounts.admin_erasures import ErasureAdmin  # noqa: F401  registers it
from accounts.admin_limits import GroupsOfOwner, LimitsOfUser
from accounts.admin_stopping import StoppingAdmin
from accounts.erasing import without_erased
from accounts.forms import StaffSignInForm
from accounts.models import SIGNS_IN_NEVER, ApiKey, User
from accounts.services import ERASE_SECONDS, delete_user, make_service_accounts, revoke_api_key
from foundation.admin_base import HistoryAdmin, ListAdmin, MadeFilter, TextFilter

# Fields that give an account more power: only a superuser may change them.
POWERS = ("is_staff", "is_superuser", "groups", "user_permissions")

# What other apps show on an account's page: each function returns a few words about the account.
FACTS: list[Callable[[User], str]] = []
MAKER = ("created_by", "limits_owner", "stopped_at")
SHOWN_USES = 30
STILL_ERASING = "Large accounts are still being erased, in the background. They cannot be used any more."

admin.site.login_form = StaffSignInForm


class MakerFilter(TextFilter):
    title = "maker"
    parameter_name = "created_by"
    placeholder = "username"

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if not self.text():
            return queryset
        maker = User.objects.named(self.text())
        return queryset.filter(created_by=maker) if maker else queryset.none()


@admin.register(User)
class AccountAdmin(StoppingAdmin, ListAdmin, UserAdmin):  # type: ignore[type-arg]  # not subscriptable at run time
    list_display = (
        *("username", "is_active", "is_staff", "is_service", "created_by", "guest_made"),
        *("date_joined", "last_login"),
    )
    list_filter = ("is_active", "is_staff", "is_service", "guest_made", MakerFilter, MadeFilter)
    list_select_related = ("created_by",)
    fieldsets = (
        *(UserAdmin.fieldsets or ()),
        ("Service account", {"fields": ("is_service",)}),
        ("Created by", {"fields": MAKER}),
    )
    actions = ("deactivate", "make_service")
    inlines = (LimitsOfUser, GroupsOfOwner)
    search_fields = ("username__istartswith",)
    search_help_text = "Start of a username"
    ordering = ("-id",)
    sortable_by = ("username",)

    def get_queryset(self, request: HttpRequest) -> Any:
        return without_erased(super().get_queryset(request), "pk")

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:
        return self.inlines if obj is not None else ()

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        fields = (
            *super().get_readonly_fields(request, obj),
            "last_login",
            "date_joined",
            "is_service",
            "holds",
            *MAKER,
        )
        return fields if request.user.is_superuser else (*fields, *POWERS)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        return (*fieldsets, ("Storage", {"fields": ("holds",)})) if obj is not None else fieldsets

    @admin.display(description="holds")
    def holds(self, user: User) -> str:
        return ", ".join(fact(user) for fact in FACTS)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Let only superusers change a superuser: a new password would let others sign in as one."""
        return super().has_change_permission(request, obj) and (
            obj is None or not obj.is_superuser or request.user.is_superuser
        )

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and (
            obj is None or not obj.is_superuser or request.user.is_superuser
        )

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> Any:
        if User.objects.filter(pk=unquote(id), is_service=True).exists():
            raise PermissionDenied(SIGNS_IN_NEVER)
        return super().user_change_password(request, id, form_url)

    def has_service_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_superuser)

    @admin.action(description="Turn into service accounts, which nobody can sign in as", permissions=["service"])
    def make_service(self, request: HttpRequest, queryset: Any) -> None:
        chosen = list(queryset.exclude(is_service=True))
        try:
            make_service_accounts(users=chosen)
        except ValidationError as error:
            self.message_user(request, " ".join(error.messages), "error")
            return
        for user in chosen:
            self.log_change(request, user, "Turned into a service account")
        self.message_user(request, f"{len(chosen)} accounts are service accounts now: only their keys work.")

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """List what is deleted without loading it: an account may own a hundred thousand messages."""
        names = [f"{user.username}, with everything this account owns" for user in objs]
        refused = {"superuser"} if any(not self.has_delete_permission(request, user) for user in objs) else set()
        return names, {"accounts": len(names)}, refused, []

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        if not delete_user(user=obj, seconds=ERASE_SECONDS):
            self.message_user(request, STILL_ERASING, "warning")

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        until = time.monotonic() + ERASE_SECONDS
        # All are unusable at once; what is left after a few seconds is erased in the background.
        gone = [delete_user(user=user, seconds=max(0, until - time.monotonic())) for user in queryset]
        if not all(gone):
            self.message_user(request, STILL_ERASING, "warning")


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


@admin.register(ApiKey)
class ApiKeyAdmin(HistoryAdmin):
    """`manage.py create_api_key`, or a key's owner, makes keys: the secret is shown there once, and never here."""

    list_display = ("shown", "name", "user", "allowed", "created_at", "expires_at", "last_used_at", "revoked_at")
    list_filter = (StateFilter, MadeFilter)
    list_select_related = ("user",)
    search_fields = ("kid__startswith", "user__username__istartswith")
    search_help_text = "Start of a key (without cb_) or of its owner's username"
    fields = readonly_fields = (
        *("shown", "name", "user", "allowed", "from_networks", "may_change_credentials", "issued_by", "replaces"),
        *("created_at", "expires_at", "last_used_at", "revoked_at", "used_from"),
    )
    ordering = ("-id",)
    sortable_by = ()
    actions = ("revoke",)

    def get_queryset(self, request: HttpRequest) -> Any:
        return without_erased(super().get_queryset(request), "user")

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

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("accounts.change_apikey")

    def revocable(self, request: HttpRequest, queryset: Any) -> Any:
        """Return the keys that this staff member may revoke: only superusers may revoke a superuser's."""
        return queryset if request.user.is_superuser else queryset.filter(user__is_superuser=False)

    @admin.action(description="Revoke the selected keys", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: Any) -> None:
        revoked = list(self.revocable(request, queryset))
        for key in revoked:
            revoke_api_key(key=key)
            self.log_change(request, key, "Revoked")
        self.message_user(request, f"{len(revoked)} keys were revoked.")
