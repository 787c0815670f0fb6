"""The queue of feedback for staff: ratings for everybody, comments for those who read the conversation for a reason."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from accounts.models import User
from conversations import admin_filters
from conversations.access_log import has_opened
from conversations.admin import AT_ONCE, MATCHES, as_id
from feedback.models import Feedback
from feedback.services import mark_reviewed
from foundation.admin_base import HistoryAdmin, TextFilter, minute
from foundation.admin_links import to_user
from foundation.ids import first_id_of

HIDDEN = "Hidden. Read the answer first: then the comment is here, for as long as the reason holds."


class ReviewedFilter(admin.SimpleListFilter):
    title = "review"
    parameter_name = "reviewed"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("no", "To be reviewed"), ("yes", "Reviewed")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() not in ("yes", "no"):
            return queryset
        return queryset.filter(reviewed_at__isnull=self.value() == "no")


class DayFilter(TextFilter):
    title = "day (UTC)"
    parameter_name = "day"
    placeholder = "2026-11-29"

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if not self.text():
            return queryset
        try:
            day = dt.datetime.combine(dt.date.fromisoformat(self.text()), dt.time(), dt.UTC)
            return queryset.filter(id__gte=first_id_of(day), id__lt=first_id_of(day + dt.timedelta(days=1)))
        except (ValueError, OverflowError):
            return queryset.none()


class UpstreamFilter(TextFilter):
    title = "upstream"
    parameter_name = "upstream"
    placeholder = "name in UPSTREAMS"
    column = "upstream"


@admin.register(Feedback)
class FeedbackAdmin(HistoryAdmin):
    """A comment is content: only who has opened the transcript, for a reason that is logged, sees it."""

    list_display = ("given", "rating", "with_comment", "user", "model", "upstream", "reviewed", "answer")
    list_filter = (ReviewedFilter, "rating", admin_filters.ModelFilter, UpstreamFilter, DayFilter)
    list_select_related = ("user", "message")
    search_fields = ("user",)
    search_help_text = "Start of a username, or the id of a user, a message or the feedback"
    fields = readonly_fields = (
        *("id", "given", "changed", "rating", "comment_if_read", "user", "model", "upstream", "reviewed_at", "answer"),
    )
    ordering = ("-id",)
    sortable_by = ()
    links = {"user": to_user()}
    actions = ("mark_as_reviewed", "mark_as_not_reviewed")

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).defer("message__content", "message__usage")

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        term = search_term.replace("\x00", "").strip()[:200]
        if not term:
            return queryset, False
        if (pk := as_id(term)) is not None:
            return queryset.filter(Q(pk=pk) | Q(message_id=pk) | Q(user_id=pk)), False
        users = User.objects.filter(username__istartswith=term).values_list("pk", flat=True)[:MATCHES]
        return queryset.filter(user_id__in=list(users)), False

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Feedback | None:
        found: Feedback | None = super().get_object(request, object_id, from_field)
        if found is not None and not has_opened(reader=request.user, conversation=found.message.conversation):
            found.comment = found.comment and HIDDEN
        return found

    @admin.display(description="given (UTC)")
    def given(self, feedback: Feedback) -> str:
        return minute(feedback.created_at)

    @admin.display(description="changed (UTC)")
    def changed(self, feedback: Feedback) -> str:
        return minute(feedback.updated_at)

    @admin.display(description="comment", boolean=True)
    def with_comment(self, feedback: Feedback) -> bool:
        return bool(feedback.comment)

    @admin.display(description="comment")
    def comment_if_read(self, feedback: Feedback) -> str:
        return feedback.comment

    @admin.display(description="reviewed", boolean=True)
    def reviewed(self, feedback: Feedback) -> bool:
        return feedback.reviewed_at is not None

    @admin.display(description="answer")
    def answer(self, feedback: Feedback) -> str:
        page = reverse("admin:conversations_conversation_change", args=[feedback.message.conversation_id])
        return format_html('<a href="{}?message={}#m-{}">Read</a>', page, feedback.message_id, feedback.message_id)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Feedback is deleted by its user, or with the message or the account."""
        return False

    def has_review_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("feedback.change_feedback")

    @admin.action(description="Mark the selected feedback as reviewed", permissions=["review"])
    def mark_as_reviewed(self, request: HttpRequest, queryset: Any) -> None:
        self._mark(request, queryset.filter(reviewed_at=None), reviewed=True)

    @admin.action(description="Mark the selected feedback as not reviewed", permissions=["review"])
    def mark_as_not_reviewed(self, request: HttpRequest, queryset: Any) -> None:
        self._mark(request, queryset.exclude(reviewed_at=None), reviewed=False)

    def _mark(self, request: HttpRequest, queryset: Any, *, reviewed: bool) -> None:
        rows = list(queryset[: AT_ONCE + 1])
        if len(rows) > AT_ONCE:
            self.message_user(request, f"At most {AT_ONCE} at once.", "error")
            return
        mark_reviewed(feedback=rows, reviewed=reviewed)
        words = "reviewed" if reviewed else "not reviewed"
        for row in rows:
            self.log_change(request, row, f"Marked as {words}")
        self.message_user(request, f"Marked as {words}: {len(rows)}.")
