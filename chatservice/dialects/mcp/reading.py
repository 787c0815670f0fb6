"""Reads the caller's conversations for the tools and resources. Uses the database."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Q
from django.http import Http404
from rest_framework.exceptions import PermissionDenied

from accounts.callers import Principal
from accounts.guests import as_id, shares_local_space
from chatservice.dialects.mcp.results import ConversationPart as Part
from chatservice.dialects.mcp.results import Lately, Listed, Listing, RecentConversations, Said
from chatservice.dialects.searching import excerpt
from chatservice.dialects.time_cursors import read_time_cursor, time_cursor
from conversations.models import Conversation, Message
from conversations.tags import load_tags, tag_key
from conversations.transcript import Tree

MAX_MESSAGES = 20
MESSAGE_CHARS = 2_000
# Of the message that was asked for by its id.
WHOLE_CHARS = 20_000
CONVERSATIONS = "c"
"""The kind of list that a cursor is of."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, and the address of the chat page on the host that the request named."""

    principal: Principal
    page: str

    def url(self, conversation_id: uuid.UUID, message_id: uuid.UUID | None = None) -> str:
        return f"{self.page}#{conversation_id}" + (f"/{message_id}" if message_id else "")


def refuse_strangers(principal: Principal) -> None:
    """Raise for a guest who shares no local space: such a guest may open a conversation by its id, but not list any."""
    if not shares_local_space(principal):
        raise PermissionDenied("Without a key you can only read a conversation by its id; everything else needs a key.")


def read_part(asker: Asker, conversation_id: str, *, around: str = "") -> Part:
    """Return at most MAX_MESSAGES of a branch: the last ones shown, or those around a message. Raises Http404
    or DoesNotExist."""
    if (pk := as_id(conversation_id)) is None:
        raise Http404
    conversation = Conversation.objects.visible_to(asker.principal).get(pk=pk)
    tree = Tree(conversation)
    path = tree.path(conversation.head_id)
    middle = None
    if around:
        middle = as_id(around)
        if middle is None or middle not in tree.parents:
            raise Http404
        if middle not in path:
            path = tree.path(tree.newest_leaf(middle))
    start = max(0, len(path) - MAX_MESSAGES)
    if middle is not None:
        start = min(start, max(0, path.index(middle) - MAX_MESSAGES // 2))
    chosen = path[start : start + MAX_MESSAGES]
    rows = Message.objects.in_bulk(chosen)
    return Part(
        id=str(conversation.pk),
        title=conversation.title,
        date=conversation.updated_at,
        url=asker.url(conversation.pk, middle),
        messages=[_said(rows[pk], WHOLE_CHARS if pk == middle else MESSAGE_CHARS) for pk in chosen if pk in rows],
        more_before=start > 0,
        more_after=start + MAX_MESSAGES < len(path),
    )


def _said(message: Message, chars: int) -> Said:
    return Said(
        id=str(message.pk),
        role=message.role,
        date=message.created_at,
        status=message.status,
        text=message.content[:chars],
        cut=len(message.content) > chars,
    )


def list_part(
    asker: Asker,
    *,
    limit: int,
    cursor: str,
    since: dt.datetime | None = None,
    until: dt.datetime | None = None,
    tag: str = "",
) -> Listing:
    """Return a page of the caller's conversations, of those with a tag if one is named, the last changed first.

    Raises BadCursor.
    """
    refuse_strangers(asker.principal)
    rows = Conversation.objects.visible_to(asker.principal).newest_first()
    if since is not None:
        rows = rows.filter(updated_at__gte=since)
    if until is not None:
        rows = rows.filter(updated_at__lt=until)
    if tag:
        rows = rows.tagged(tag_key(tag), asker.principal)
    if cursor:
        time, pk = read_time_cursor(CONVERSATIONS, cursor)
        rows = rows.filter(Q(updated_at__lt=time) | Q(updated_at=time, pk__lt=pk))
    found = list(rows[: limit + 1])
    page = found[:limit]
    load_tags(page)
    return Listing(
        conversations=[
            Listed(
                id=str(each.pk),
                title=each.title,
                created=each.created_at,
                changed=each.updated_at,
                archived=each.archived_at is not None,
                pinned=each.pinned_at is not None,
                tags=each.tag_names,
                url=asker.url(each.pk),
            )
            for each in page
        ],
        next_cursor=time_cursor(CONVERSATIONS, page[-1].updated_at, page[-1].pk) if len(found) > limit else None,
    )


def read_recent(asker: Asker, limit: int) -> RecentConversations:
    refuse_strangers(asker.principal)
    rows = Conversation.objects.visible_to(asker.principal).newest_first()[:limit]
    conversations = list(rows)
    last = _last_two(conversations)
    return RecentConversations(
        conversations=[
            Lately(
                id=str(each.pk),
                title=each.title,
                changed=each.updated_at,
                question=last[each.pk][0],
                answer=last[each.pk][1],
                url=asker.url(each.pk),
            )
            for each in conversations
        ]
    )


def _last_two(conversations: Sequence[Conversation]) -> dict[uuid.UUID, tuple[str, str]]:
    """Return the beginnings of the last two messages of each shown branch, the earlier one first."""
    heads = Message.objects.in_bulk([each.head_id for each in conversations if each.head_id])
    parents = Message.objects.in_bulk([each.parent_id for each in heads.values() if each.parent_id])
    found = {}
    for each in conversations:
        head = heads.get(each.head_id) if each.head_id else None
        parent = parents.get(head.parent_id) if head is not None and head.parent_id else None
        found[each.pk] = (excerpt(parent) if parent else "", excerpt(head) if head else "")
    return found
