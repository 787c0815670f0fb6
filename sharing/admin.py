"""The shared links for staff: whose, of which conversation, until when. No title and no token; revoking is logged."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html

from accounts.models import User
from conversations.admin import AT_ONCE, MATCHES, as_id
from foundation.admin_base import DatesFilter, HistoryAdmin, minute
from foundation.admin_links import to_user
from sharing.models import SharedLink
from sharing.services import revoke_links


@admin.register(SharedLink)
class SharedLinkAdmin(HistoryAdmin):
    """A title is content, and a token opens it: staff see neither, and read a conversation on its own page."""

    list_display = ("made", "owner", "of_conversation", "expires", "works")
    list_filter = (DatesFilter,)
    list_select_related = ("owner",)
    search_fields = ("owner",)
    search_help_text = "Start of a username, or the id of a user, a conversation, a message or the link"
    fields = readonly_fields = ("id", "made", "owner", "of_conversation", "message_id", "expires", "works")
    ordering = ("-id",)
    sortable_by = ()
    links = {"owner": to_user("owner")}
    actions = ("revoke",)

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).defer("title")

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        term = search_term.replace("\x00", "").strip()[:200]
        if not term:
            return queryset, False
        if (pk := as_id(term)) is not None:
            return queryset.filter(Q(pk=pk) | Q(owner_id=pk) | Q(conversation_id=pk) | Q(message_id=pk)), False
        users = User.objects.filter(username__istartswith=term).values_list("pk", flat=True)[:MATCHES]
        return queryset.filter(owner_id__in=list(users)), False

    @admin.display(description="made (UTC)")
    def made(self, link: SharedLink) -> str:
        return minute(link.created_at)

    @admin.display(description="expires (UTC)")
    def expires(self, link: SharedLink) -> str:
        return minute(link.expires_at)

    @admin.display(description="works", boolean=True)
    def works(self, link: SharedLink) -> bool:
        return link.expires_at > timezone.now()

    @admin.display(description="conversation")
    def of_conversation(self, link: SharedLink) -> str:
        page = reverse("admin:conversations_conversation_change", args=[link.conversation_id])
        return format_html('<a href="{}?leaf={}">{}</a>', page, link.message_id, link.conversation_id)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Links are revoked by the action, which is one statement for all of them and logs each."""
        return False

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("sharing.delete_sharedlink")

    @admin.action(description="Revoke the selected links", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: Any) -> None:
        rows = list(queryset[: AT_ONCE + 1])
        if len(rows) > AT_ONCE:
            self.message_user(request, f"At most {AT_ONCE} at once.", "error")
            return
        for row in rows:
            self.log_change(request, row, f"Revoked a link of the user {row.owner_id}")
        revoke_links(links=rows)
        self.message_user(request, f"Revoked: {len(rows)}.")
