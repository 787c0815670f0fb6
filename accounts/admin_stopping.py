"""Lets staff stop the activity of accounts: an action for many and a page for one, both with a confirmation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.contrib.admin import helpers
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse

from accounts.models import User
from accounts.services import accounts_closed_with, deactivate_users, stop_user

AT_ONCE = 500
DEACTIVATING = (
    "These accounts, and the accounts that they created, will be deactivated. Their keys and sessions stop "
    "working; running answers, streams and sockets end within a second in every process. Nothing is deleted. Each "
    "account has to be activated again separately."
)
STOPPING = (
    "Running answers, streams and sockets of this account end within a second in every process. Text written so "
    "far is kept. The account stays active and can start again at once."
)


class StoppingAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not subscriptable at run time
    """The part of the accounts' admin that stops their activity."""

    def get_urls(self) -> list[Any]:
        stop = self.admin_site.admin_view(self.stop_view)
        return [path("<path:object_id>/stop/", stop, name="accounts_user_stop"), *super().get_urls()]

    @admin.action(description="Deactivate and stop all activity", permissions=["change"])
    def deactivate(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        chosen = list(queryset.exclude(pk=request.user.pk)[: AT_ONCE + 1])
        if len(chosen) > AT_ONCE:
            self.message_user(request, f"At most {AT_ONCE} accounts can be deactivated at once.", "error")
            return None
        if not chosen:
            self.message_user(request, "You cannot deactivate your own account.", "error")
            return None
        affected = accounts_closed_with(chosen)
        for user in affected:
            self._require_change(request, user)
        if not request.POST.get("post"):
            return self._confirm(
                request, "Deactivate and stop all activity", DEACTIVATING, affected, chosen, "deactivate"
            )
        closed = deactivate_users(users=chosen)
        for user in closed:
            self.log_change(request, user, "Deactivated, and stopped all activity")
        self.message_user(request, f"{len(closed)} accounts were deactivated; their activity ends.")
        return None

    def stop_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for confirmation, then stop one account's activity; the account itself stays active."""
        user = self.get_object(request, object_id)
        self._require_change(request, user)
        if user is None:
            return self._get_obj_does_not_exist_redirect(  # type: ignore[attr-defined,no-any-return]  # private
                request, self.opts, object_id
            )
        if request.method != "POST":
            return self._confirm(request, "Stop all activity of this user", STOPPING, [user])
        stop_user(user=user)
        self.log_change(request, user, "Stopped all activity")
        self.message_user(request, f"All activity of {user} ends.")
        return HttpResponseRedirect(reverse("admin:accounts_user_change", args=[user.pk]))

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if change and "is_active" in form.changed_data and not obj.is_active:
            deactivate_users(users=[obj])

    def _require_change(self, request: HttpRequest, user: User | None) -> None:
        if not self.has_change_permission(request, user):
            raise PermissionDenied

    def _confirm(
        self,
        request: HttpRequest,
        title: str,
        explanation: str,
        users: Sequence[User],
        selected: Sequence[User] = (),
        action: str = "",
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "explanation": explanation,
            "users": users,
            "selected": [user.pk for user in selected],
            "action": action,
            "checkbox": helpers.ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, "admin/accounts/user/confirm_stop.html", context)
