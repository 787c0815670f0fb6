"""Conversations as OpenAI's objects: found by id, listed newest first, made, and searched."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.http import QueryDict

from accounts.callers import Principal
from chatservice.dialects.openai_v1.conversations.items import add_messages, items_of_message, read_items
from chatservice.dialects.openai_v1.ids import CONVERSATION, conversation_id, key_of
from chatservice.dialects.openai_v1.metadata import read_metadata
from chatservice.dialects.openai_v1.pages import list_of, read_page, unknown_position
from chatservice.dialects.problems import BadRequest
from chatservice.dialects.searching import read_search, why_found
from completions.run_requests import title_from
from conversations import services
from conversations.embedded_files import as_files
from conversations.models import Conversation
from files.embedded import Arrived
from search.results import Hit


def conversation_object(conversation: Conversation) -> dict[str, Any]:
    return {
        "id": conversation_id(conversation.pk),
        "object": "conversation",
        "created_at": int(conversation.created_at.timestamp()),
        "metadata": conversation.metadata,
    }


def find_conversation(principal: Principal, text: str) -> Conversation:
    """Return the caller's conversation with this id; raises BadRequest (404)."""
    pk = key_of(text, CONVERSATION)
    found = Conversation.objects.visible_to(principal).filter(pk=pk).first() if pk else None
    if found is None:
        raise BadRequest("There is no such conversation.", code="not_found", status=404, param="conversation_id")
    return found


def create_conversation(principal: Principal, body: dict[str, Any], embedded: Arrived) -> Conversation:
    """Create a conversation with the items and metadata of a body; raises BadRequest and LimitReached."""
    metadata, given = (
        read_metadata(body.get("metadata")),
        read_items(principal, [] if body.get("items") is None else body["items"]),
    )
    with as_files(given, owner_id=principal.user_id, among=embedded) as messages, transaction.atomic():
        conversation = services.start_conversation(
            owner_id=principal.user_id, title=title_from(messages), title_is_provisional=False, metadata=metadata
        )
        add_messages(conversation, messages)
    return conversation


def list_conversations(principal: Principal, query: QueryDict) -> dict[str, Any]:
    """Return the list object of the caller's conversations, by their last change."""
    page = read_page(query, newest_first=True)
    rows = Conversation.objects.visible_to(principal)
    rows = rows.newest_first() if page.newest_first else rows.newest_first().reverse()
    if page.after:
        pk = key_of(page.after, CONVERSATION)
        last = rows.filter(pk=pk).first() if pk else None
        if last is None:
            raise unknown_position()
        changed, same = ("lte", "gte") if page.newest_first else ("gte", "lte")
        rows = rows.filter(**{f"updated_at__{changed}": last.updated_at})
        rows = rows.exclude(**{"updated_at": last.updated_at, f"pk__{same}": last.pk})
    found = list(rows[: page.limit + 1])
    return list_of([_listed(each) for each in found[: page.limit]], has_more=len(found) > page.limit)


def search_items(principal: Principal, query: QueryDict) -> dict[str, Any]:
    """Return the list object of the items that a search finds, best first."""
    given = {name: query.get(name, "") for name in query}
    if pk := key_of(given.get("conversation_id", ""), CONVERSATION):
        given["conversation_id"] = str(pk)
    hits = read_search(given, query.getlist("role"), query="query").find(principal)
    data = [_found(hit) for hit in hits.hits]
    return list_of(data, has_more=bool(hits.next_cursor)) | {"next_cursor": hits.next_cursor or None}


def _listed(conversation: Conversation) -> dict[str, Any]:
    changed = int(conversation.updated_at.timestamp())
    return conversation_object(conversation) | {"title": conversation.title, "updated_at": changed}


def _found(hit: Hit) -> dict[str, Any]:
    """Return the item of a hit that has its text: of an answer its message, and not its reasoning or its calls."""
    items = items_of_message(hit.message)
    item = next((each for each in items if each["type"] == "message"), items[0])
    return {**item, "conversation_id": conversation_id(hit.message.conversation_id), **why_found(hit)}
