"""Tags: words that the owner of a conversation puts on it, to find it again by them.

A tag is kept as it was written first. Two that differ only in case are the same one.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable
from typing import Any

from django.db.models import Min, prefetch_related_objects

from accounts.callers import Principal
from conversations.models import Conversation, ConversationTag
from conversations.storable import is_storable

MAX_TAGS = 20
TAG_CHARS = 50
# So many of an owner's tags are listed.
MAX_LISTED = 1_000


def tag_key(text: str) -> str:
    """Return what a tag, or a text that may be one, is compared by."""
    return unicodedata.normalize("NFC", _normal(text).casefold())


def _normal(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def read_tag(value: Any) -> str:
    """Return a tag as it is stored; raises ValueError for a value that is none."""
    if not isinstance(value, str) or not is_storable(value):
        raise ValueError("A tag is a text.")
    name = _normal(value)
    if not name:
        raise ValueError("A tag must not be empty.")
    if len(name) > TAG_CHARS:
        raise ValueError(f"A tag has at most {TAG_CHARS} characters.")
    return name


def read_tags(value: Any) -> list[str]:
    """Return the tags that are given, each once, in the order of the alphabet; raises ValueError."""
    if not isinstance(value, (list, tuple)):
        raise ValueError("A list of tags.")
    names = _each_once(map(read_tag, value))
    if len(names) > MAX_TAGS:
        raise ValueError(f"A conversation has at most {MAX_TAGS} tags.")
    return names


def readable_tags(value: Iterable[Any]) -> list[str]:
    """Return what are tags among values from elsewhere, such as a file."""
    names = []
    for each in value:
        try:
            names.append(read_tag(each))
        except ValueError:
            continue
    return _each_once(names)[:MAX_TAGS]


def _each_once(names: Iterable[str]) -> list[str]:
    found: dict[str, str] = {}
    for name in names:
        found.setdefault(tag_key(name), name)
    return [found[key] for key in sorted(found)]


def tag_rows(conversation: Conversation, names: Iterable[str]) -> list[ConversationTag]:
    """Return the unsaved rows of tags that were read."""
    return [
        ConversationTag(conversation=conversation, owner_id=conversation.owner_id, name=name, key=tag_key(name))
        for name in names
    ]


def replace_tags(conversation: Conversation, names: Iterable[str]) -> None:
    """Give a conversation these tags instead of those it has, inside the current transaction.

    Raises Conversation.DoesNotExist if it is gone.
    """
    # Locked, so that of two changes at once the later one holds, and not the tags of both.
    Conversation.objects.select_for_update(no_key=True).only("id").get(pk=conversation.pk)
    ConversationTag.objects.filter(conversation=conversation).delete()
    ConversationTag.objects.bulk_create(tag_rows(conversation, names))
    conversation._prefetched_objects_cache = {}  # type: ignore[attr-defined]  # Django's, which has no public name


def load_tags(conversations: Collection[Conversation]) -> None:
    """Load the tags of all of them by one query."""
    prefetch_related_objects(list(conversations), "tags")


def tags_of(principal: Principal) -> list[str]:
    """Return the tags on all conversations that the caller may see, in the order of the alphabet."""
    mine = ConversationTag.objects.visible_to(principal).values("key").annotate(spelled=Min("name"))
    return [each["spelled"] for each in mine.order_by("key")[:MAX_LISTED]]
