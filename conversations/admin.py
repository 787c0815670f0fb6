"""The stored history for staff: lists without content, transcripts for a stated reason, no editing of messages."""

from __future__ import annotations

import uuid
from functools import partial
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import F, Q, Value
from django.db.models.functions import Concat
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils import timezone

from accounts.admin import FACTS
from accounts.admin_related import RELATED, Related
from accounts.erasing import without_erased
from accounts.models import User
from conversations import admin_filters as filters
from conversations import (
    admin_keys,  # noqa: F401  registers its pages
    quota,
    transcript_files,
)
from conversations.access_log import may_read_content, record_access
from conversations.access_reasons import SEARCHING, ReasonForm, remember_reason, remembered_reason
from conversations.admin_exports import export_selected
from conversations.models import AccessLogEntry, Conversation, Message
from conversations.services import delete_conversation, update_conversation
from conversations.transcript import Transcript, read_transcript
from foundation.admin_base import DatesFilter, HistoryAdmin, MadeFilter, TextFilter, minute
from foundation.admin_links import Link, list_of, page_of, to_user

FACTS.append(quota.said_of)
RELATED.append(
    Related(
        title="Conversations",
        permission="conversations.view_conversation",
        address=lambda user: list_of("conversations_conversation", owner=user.username),
        latest=lambda user: Conversation.objects.filter(owner=user).order_by("-updated_at"),
        moment="updated_at",
        words=F("end_user"),  # no titles: they are content
        page=partial(page_of, "conversations_conversation"),
    )
)
RELATED.append(
    Related(
        title="Access log",
        permission="conversations.view_accesslogentry",
        address=lambda user: list_of("conversations_accesslogentry", q=user.pk),
        latest=lambda user: AccessLogEntry.objects.filter(owner_id=user.pk).newest_first(),
        words=Concat("reader_name", Value(", "), "kind"),
        page=partial(page_of, "conversations_accesslogentry"),
    )
)
AT_ONCE = 100
# Only the titles of the latest TITLES conversations are searched; older ones are found by their messages.
TITLES, MATCHES = 10_000, 1_000


@admin.register(Conversation)
class ConversationAdmin(HistoryAdmin):
    """Titles count as content, since they repeat what was asked: staff who may not read content see ids instead."""

    list_display = ("title_or_id", "owner", "last_activity", "messages", "answered_by", "ended", "archived")
    list_filter = (
        *(filters.ActiveFilter, filters.AnsweredByFilter, filters.OwnerFilter, filters.UpdatedFilter),
        *(filters.EndedFilter, filters.GuestFilter, filters.ArchivedFilter, filters.PinnedFilter),
        filters.TagFilter,
    )
    search_fields = ("title",)
    ordering = ("-updated_at", "-id")
    sortable_by = ("last_activity",)
    actions = ("export_selected", "archive", "unarchive")
    links = {"owner": to_user("owner")}
    change_form_template = "admin/conversations/transcript.html"

    def get_queryset(self, request: HttpRequest) -> Any:
        rows = without_erased(super().get_queryset(request).select_related("owner", "head"), "owner")
        return rows.defer("metadata", "generation", "head__content", "head__usage")

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Conversation | None:
        found = super().get_object(request, object_id, from_field)
        if found is not None and not may_read_content(request.user):
            found.title = ""
        return found

    def get_list_display(self, request: HttpRequest) -> Any:
        columns = super().get_list_display(request)
        return columns if may_read_content(request.user) else ["pk", *columns[1:]]

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        term = search_term.replace("\x00", "").strip()[:200]
        if not term:
            return queryset, False
        # Look ids up first: if conditions are joined by OR, the database reads the whole table.
        if (pk := as_id(term)) is not None:
            said = Message.objects.filter(pk=pk).values_list("conversation_id", flat=True)
            return queryset.filter(pk__in=[pk, *said]), False
        owners = User.objects.filter(username__istartswith=term).values_list("pk", flat=True)[:MATCHES]
        where = Q(owner_id__in=list(owners))
        if may_read_content(request.user):
            where |= Q(pk__in=titled(term))
        return queryset.filter(where), False

    @admin.display(description="conversation")
    def title_or_id(self, conversation: Conversation) -> str:
        return conversation.title or str(conversation)

    @admin.display(description="messages")
    def messages(self, conversation: Conversation) -> int:
        return conversation.next_position - 1

    @admin.display(description="last activity", ordering="updated_at")
    def last_activity(self, conversation: Conversation) -> str:
        return minute(conversation.updated_at)

    @admin.display(description="model")
    def answered_by(self, conversation: Conversation) -> str:
        return conversation.head.model if conversation.head else ""

    @admin.display(description="last message")
    def ended(self, conversation: Conversation) -> str:
        return conversation.head.get_status_display() if conversation.head else "empty"

    @admin.display(description="archived", boolean=True)
    def archived(self, conversation: Conversation) -> bool:
        return conversation.archived_at is not None

    # --- One conversation

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        conversation = self.get_object(request, object_id)
        if not self.has_view_permission(request, conversation):
            raise PermissionDenied
        if conversation is None:
            return self._get_obj_does_not_exist_redirect(  # type: ignore[attr-defined,no-any-return]  # private
                request, self.opts, object_id
            )
        readable, form, transcript = may_read_content(request.user), None, None
        if readable:
            place = str(conversation.pk)
            if request.method == "POST":
                form = ReasonForm(request.POST)
                if form.is_valid():
                    remember_reason(request, place, form.cleaned_data["reason"])
                    return HttpResponseRedirect(request.get_full_path())
            elif reason := remembered_reason(request, place):
                kind = AccessLogEntry.Kind.TRANSCRIPT
                record_access(reader=request.user, kind=kind, reason=reason, conversation=conversation)
                transcript = transcript_asked_for(request, conversation)
            else:
                form = ReasonForm(initial={"reason": remembered_reason(request, SEARCHING)})
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": conversation.title or str(conversation),
            "conversation": conversation,
            "metadata": conversation.metadata if transcript else None,
            "generation": conversation.generation if transcript else None,
            "tags": conversation.tag_names if transcript else (),
            "readable": readable,
            "form": form,
            "transcript": transcript,
            "may_delete": self.has_delete_permission(request, conversation),
            "may_archive": self.has_archive_permission(request),
            "may_export": self.has_export_permission(request),
            **(extra_context or {}),
        }
        return TemplateResponse(request, self.change_form_template, context)

    def get_urls(self) -> list[Any]:
        return [*transcript_files.urls(self.admin_site), *super().get_urls()]

    # --- Actions on many

    def has_archive_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("conversations.change_conversation")

    def has_export_permission(self, request: HttpRequest) -> bool:
        return may_read_content(request.user)

    @admin.action(description="Export the selected conversations…", permissions=["export"])
    def export_selected(self, request: HttpRequest, queryset: Any) -> HttpResponseBase | None:
        return export_selected(self, request, queryset)

    @admin.action(description="Archive the selected conversations", permissions=["archive"])
    def archive(self, request: HttpRequest, queryset: Any) -> None:
        self._set_archived(request, queryset.filter(archived_at=None), archived=True)

    @admin.action(description="Unarchive the selected conversations", permissions=["archive"])
    def unarchive(self, request: HttpRequest, queryset: Any) -> None:
        self._set_archived(request, queryset.exclude(archived_at=None), archived=False)

    def _set_archived(self, request: HttpRequest, queryset: Any, *, archived: bool) -> None:
        rows = list(Conversation.objects.filter(pk__in=list(queryset.values_list("pk", flat=True)[: AT_ONCE + 1])))
        if len(rows) > AT_ONCE:
            self.message_user(request, f"At most {AT_ONCE} conversations at once.", "error")
            return
        for row in rows:
            update_conversation(conversation=row, archived_at=timezone.now() if archived else None)
        self.message_user(request, f"{len(rows)} conversations were {'archived' if archived else 'unarchived'}.")

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """List what will be deleted without loading it. It is all the owner's, so no further permission is checked."""
        rows = list(objs[: AT_ONCE + 1]) if hasattr(objs, "query") else list(objs)
        refused = {f"more than {AT_ONCE} conversations at once"} if len(rows) > AT_ONCE else set()
        names = [f"Conversation {row.pk} of {row.owner}, {row.next_position - 1} messages" for row in rows[:AT_ONCE]]
        messages = sum(row.next_position - 1 for row in rows)
        return names, {"conversations": len(rows), "messages, with runs and passages": messages}, refused, []

    def delete_model(self, request: HttpRequest, obj: Conversation) -> None:
        delete_conversation(conversation=obj)

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        for conversation in queryset:
            delete_conversation(conversation=conversation)


class AccessLog(ChangeList):
    """Reads the usernames of all owners of a page by one query: an entry has ids only."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        entries = list(self.result_list)
        names = dict(User.objects.filter(pk__in={entry.owner_id for entry in entries}).values_list("pk", "username"))
        for entry in entries:
            entry.owner_name = names.get(entry.owner_id)
        self.result_list = entries


def to_owner(entry: Any) -> tuple[str, str]:
    """Return whose content was seen: an account that was deleted is an id that leads nowhere."""
    if not hasattr(entry, "owner_name"):
        owner = User.objects.filter(pk=entry.owner_id).first()
        entry.owner_name = owner and owner.username
    known = entry.owner_name is not None
    return (entry.owner_name if known else str(entry.owner_id or "-")), page_of(
        "accounts_user", known and entry.owner_id
    )


class ReaderFilter(TextFilter):
    title = "reader"
    parameter_name = "reader"
    placeholder = "username"
    column = "reader_name"


@admin.register(AccessLogEntry)
class AccessLogEntryAdmin(HistoryAdmin):
    """Read-only for everybody; the database also refuses changes."""

    list_display = ("when", "reader_name", "kind", "reason", "owner_id", "conversation_id")
    list_filter = (MadeFilter, DatesFilter, "kind", ReaderFilter)
    fields = readonly_fields = list_display
    search_fields = ("reader_name",)
    search_help_text = "Start of a reader's username, or the id of an owner or a conversation"
    ordering = ("-id",)
    sortable_by = ()
    links = {
        "reader_name": Link("accounts.view_user", lambda e: (e.reader_name, page_of("accounts_user", e.reader_id))),
        "owner_id": Link("accounts.view_user", to_owner),
        "conversation_id": Link(
            "conversations.view_conversation",
            lambda e: (str(e.conversation_id or "-"), page_of("conversations_conversation", e.conversation_id)),
        ),
    }

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return AccessLog

    @admin.display(description="when (UTC)")
    def when(self, entry: AccessLogEntry) -> str:
        return minute(entry.created_at)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        term = search_term.replace("\x00", "").strip()[:200]
        if (pk := as_id(term)) is not None:
            return queryset.filter(Q(owner_id=pk) | Q(conversation_id=pk)), False
        return (queryset.filter(reader_name__istartswith=term) if term else queryset), False


def titled(term: str) -> list[uuid.UUID]:
    """Return the latest conversations whose title contains `term`."""
    latest = Conversation.objects.newest_first().values("pk")[:TITLES]
    found = Conversation.objects.filter(pk__in=latest, title__icontains=term)
    return list(found.values_list("pk", flat=True)[:MATCHES])


def transcript_asked_for(request: HttpRequest, conversation: Conversation) -> Transcript:
    """Return the transcript that the query string selects: `message` to jump to, `leaf` of a branch, `page`."""
    page = request.GET.get("page", "")
    return read_transcript(
        conversation,
        leaf=as_id(request.GET.get("leaf", "")),
        sought=as_id(request.GET.get("message", "")),
        page=int(page) if page.isascii() and page.isdigit() and len(page) < 6 else None,
    )


def as_id(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
