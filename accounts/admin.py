"""Accounts and keys for staff. A key's secret is nowhere to be seen: it can be revoked, not read."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin

from accounts.forms import StaffSignInForm
from accounts.models import ApiKey, User
from accounts.services import revoke_api_key

admin.site.login_form = StaffSignInForm


@admin.register(User)
class AccountAdmin(UserAdmin):
    list_display = ("username", "is_active", "is_staff", "guest_made", "date_joined", "last_login")
    list_filter = ("is_active", "is_staff", "guest_made")
    search_fields = ("username",)
    ordering = ("-date_joined",)
    show_full_result_count = False


@admin.register(ApiKey)
class ApiKeyAdmin(admin.ModelAdmin):
    """Keys are made by `manage.py create_api_key`, which alone shows the secret."""

    list_display = ("kid", "name", "user", "created_at", "expires_at", "last_used_at", "revoked_at")
    list_filter = ("revoked_at",)
    list_select_related = ("user",)
    search_fields = ("kid", "name", "user__username")
    fields = ("user", "name", "kid", "created_at", "expires_at", "last_used_at", "revoked_at")
    readonly_fields = ("user", "kid", "created_at", "last_used_at", "revoked_at")
    actions = ("revoke",)
    show_full_result_count = False

    def has_add_permission(self, request) -> bool:
        return False

    @admin.action(description="Revoke the selected keys", permissions=["change"])
    def revoke(self, request, queryset) -> None:
        for key in queryset:
            revoke_api_key(key=key)
        self.message_user(request, "The selected keys no longer work.")
