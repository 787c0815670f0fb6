"""Accounts for staff: what they are allowed, what there is of them, and how they end."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.contrib.auth.admin import UserAdmin
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse

from accounts.admin_erasures import ErasureAdmin  # noqa: F401  registers it
from accounts.admin_keys import ApiKeyAdmin  # noqa: F401  registers it
from accounts.admin_limits import GroupsOfOwner, LimitsOfUser, group_choices
from accounts.admin_related import related_to
from accounts.admin_stopping import StoppingAdmin
from accounts.erasing import without_erased
from accounts.forms import StaffSignInForm
from accounts.models import SIGNS_IN_NEVER, User
from accounts.services import ERASE_SECONDS, delete_user, make_service_accounts
from foundation.admin_base import DatesFilter, ListAdmin, MadeFilter, TextFilter
from foundation.admin_links import to_user

# Fields that give an account more power: only a superuser may change them.
POWERS = ("is_staff", "is_superuser", "groups", "user_permissions")

# What other apps show on an account's page: each function returns a few words about the account.
FACTS: list[Callable[[User], str]] = []
MAKER = ("created_by", "limits_owner", "stopped_at")
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
    list_filter = ("is_active", "is_staff", "is_service", "guest_made", MakerFilter, MadeFilter, DatesFilter)
    links = {"created_by": to_user("created_by")}
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

    class Media:
        js = ("accounts/filter_labels.js",)

    def get_queryset(self, request: HttpRequest) -> Any:
        rows = super().get_queryset(request).select_related("created_by", "limits_owner")
        return without_erased(rows.defer("default_generation"), "pk")

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        if (user := context.get("original")) is not None:
            context["related"] = related_to(user, request)
        return super().render_change_form(request, context, *args, **kwargs)

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        found = super().formfield_for_manytomany(db_field, request, **kwargs)
        if db_field.name == "groups" and found is not None:
            found.choices = partial(group_choices, request)
        return found

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
