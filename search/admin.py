"""The two boxes of the admin's list of conversations: one finds conversations, one what was said, for a reason."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from conversations.access_log import may_read_content, record_accesses
from conversations.access_reasons import SEARCHING, ReasonForm, remember_reason, remembered_reason
from conversations.admin import ConversationAdmin
from conversations.admin_filters import (
    ActiveFilter,
    AnsweredByFilter,
    ArchivedFilter,
    OwnerFilter,
    TagFilter,
    UpdatedFilter,
    id_of_owner,
)
from conversations.models import AccessLogEntry, Conversation
from conversations.tags import tag_key
from foundation.admin_base import kept_parameters, moment_of
from search.queries import Filters, Hit, Mode, search_everybody

SAID = "said"
"""The parameter that asks for messages; `q` asks for conversations."""
MAX_QUERY_CHARS = 400
SHOWN = 20
WAYS = {Mode.HYBRID: "words and meaning", Mode.SEMANTIC: "meaning", Mode.TEXT: "words"}

admin.site.unregister(Conversation)


class SearchedList(ChangeList):
    """The list below two boxes: of what the first one finds, or of the conversations of the second one's messages."""

    readable = False
    asks_for = ""  # what is to be searched among messages, with or without the permission and a reason
    said: dict[str, Any] | None = None

    def get_filters_params(self, params: Any = None) -> Any:
        return {name: value for name, value in super().get_filters_params(params).items() if name != SAID}

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> Any:
        rows = super().get_queryset(request, exclude_parameters)
        self.readable, self.asks_for = may_read_content(request.user), said_in(request)
        if not self.asks_for:
            return rows
        reason = remembered_reason(request, SEARCHING) if self.readable and "content_search" not in request.POST else ""
        if not reason:
            return rows.none()
        self.said = found(request, self.asks_for, reason, rows, self.filter_specs)
        return rows.filter(pk__in=self.said["conversations"])

    @property
    def kept(self) -> list[tuple[str, str]]:
        """Return what the first box sends along: the filters that it does not show."""
        return kept_parameters(self, ("q", SAID, "model", "since", "until"))

    @property
    def kept_with_said(self) -> list[tuple[str, str]]:
        return kept_parameters(self, ("q", SAID))

    @property
    def box(self) -> dict[str, Any]:
        """Return the filters that the first box shows."""
        names = {ActiveFilter: "dates", AnsweredByFilter: "model"}
        return {names[type(each)]: each for each in self.filter_specs if type(each) in names}


@admin.register(Conversation)
class SearchedConversationAdmin(ConversationAdmin):
    """Has two boxes: one finds conversations by what staff may see anyway, the other messages, for a reason."""

    change_list_template = "admin/conversations/conversation/change_list.html"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return SearchedList

    def get_actions(self, request: HttpRequest) -> Any:
        """Offer none beside messages that were found: an action would search again, and be another access."""
        return {} if said_in(request) else super().get_actions(request)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        context = dict(extra_context or {})
        if said_in(request) and self.has_view_permission(request) and may_read_content(request.user):
            form = ReasonForm(request.POST) if "content_search" in request.POST else None
            if form is not None and form.is_valid():
                remember_reason(request, SEARCHING, form.cleaned_data["reason"])
                return HttpResponseRedirect(request.get_full_path())
            if form is not None or not remembered_reason(request, SEARCHING):
                context["reason_form"] = form or ReasonForm()
        return super().changelist_view(request, context)


def said_in(request: HttpRequest) -> str:
    """Return what the request asks for among messages."""
    return request.GET.get(SAID, "").replace("\x00", "").strip()[:MAX_QUERY_CHARS]


def found(request: HttpRequest, text: str, reason: str, rows: Any, filters: list[Any]) -> dict[str, Any]:
    """Search messages of the conversations in `rows`, record that the reader sees them, and return what is shown."""
    result = search_everybody(text, filters=narrowed(filters), limit=SHOWN)
    listed = rows.filter(pk__in={hit.message.conversation_id for hit in result.hits})
    owners = dict(listed.values_list("pk", "owner__username"))
    hits = [hit for hit in result.hits if hit.message.conversation_id in owners]
    record_accesses(
        reader=request.user,
        kind=AccessLogEntry.Kind.SEARCH,
        reason=reason,
        conversations=((hit.message.conversation_id, hit.message.conversation.owner_id) for hit in hits),
    )
    return {
        "reason": reason,
        "hits": [shown(hit, owners[hit.message.conversation_id]) for hit in hits],
        "conversations": list(owners),
        "more": bool(result.next_cursor),
        "how": WAYS[result.mode],
        "why": result.why,
        "excluded": result.excluded,
        "took_ms": result.took_ms,
    }


def narrowed(filters: list[Any]) -> Filters:
    """Return those filters of the list that a search has, too: the best hits are then among the list's."""
    of = {type(each): each for each in filters}
    owner, days = of[OwnerFilter].text(), of[UpdatedFilter].since()
    try:
        since = moment_of(of[ActiveFilter].since)
    except ValueError:  # no day: nothing is listed
        since = None
    return Filters(
        owner_id=id_of_owner(owner) if owner else None,
        model=of[AnsweredByFilter].text(),
        after=max(filter(None, (since, days)), default=None),
        archived={"yes": True, "no": False}.get(of[ArchivedFilter].value() or ""),
        tag=tag_key(of[TagFilter].text()),
    )


def shown(hit: Hit, owner: str) -> dict[str, Any]:
    """Return what the page shows of a hit; its link jumps to the message."""
    message = hit.message
    page = reverse("admin:conversations_conversation_change", args=[message.conversation_id])
    return {
        "address": f"{page}?message={message.pk}#m-{message.pk}",
        "title": message.conversation.title or str(message.conversation),
        "owner": owner,
        "role": message.get_role_display(),
        "when": message.created_at,
        "matched": {"both": "words and meaning"}.get(hit.matched, hit.matched),
        "shown": hit.shown,
        "found": hit.found,
        "snippet": marked(hit.snippet, hit.highlights),
    }


def marked(snippet: str, highlights: tuple[tuple[int, int], ...]) -> SafeString:
    """Return the snippet escaped, with the highlights in <mark>."""
    pieces: list[SafeString] = []
    end = 0
    for start, stop in sorted(highlights):
        start = max(start, end)
        if stop > start:
            pieces.append(format_html("{}<mark>{}</mark>", snippet[end:start], snippet[start:stop]))
            end = stop
    pieces.append(format_html("{}", snippet[end:]))
    return format_html_join("", "{}", ((piece,) for piece in pieces))
