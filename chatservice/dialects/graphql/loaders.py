"""Batches the look-ups of one operation: a list of fifty needs as many queries as a list of one.

Every query starts from what the caller may see; a loader never outlives its operation.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple, TypeVar

from strawberry.dataloader import DataLoader

from accounts.callers import Principal
from chatservice.dialects.attached_files import AttachedFile, attached_files
from completions.models import UNFINISHED, Run
from conversations.models import Conversation, ConversationTag, Message, MessageQuerySet, load_parts
from conversations.rendering import render_markdown
from feedback.models import Feedback
from feedback.services import feedback_on
from foundation.database import in_database_thread

K = TypeVar("K")
V = TypeVar("V")
REMEMBERED_CHARS = 8_000


class Leaf(NamedTuple):
    """The last message of a branch."""

    conversation_id: uuid.UUID
    message_id: uuid.UUID | None


class VersionsKey(NamedTuple):
    """Identifies a message among its versions: all versions share it."""

    conversation_id: uuid.UUID
    parent_id: uuid.UUID | None
    role: str


class Source(NamedTuple):
    """Markdown to render; people's line breaks are kept, models' are Markdown's."""

    text: str
    keep_breaks: bool


class Loaders:
    def __init__(self, principal: Principal) -> None:
        def loader(read: Callable[[Principal, list[K]], list[V]]) -> DataLoader[K, V]:
            return DataLoader(load_fn=partial(in_database_thread, read, principal))

        self.conversation: DataLoader[uuid.UUID, Conversation | None] = loader(_conversations)
        self.message: DataLoader[uuid.UUID, Message | None] = loader(_messages)
        self.files: DataLoader[Message, Sequence[AttachedFile]] = loader(_files)
        self.extras: DataLoader[Message, dict[str, Any] | None] = loader(_extras)
        self.feedback: DataLoader[Message, Feedback | None] = loader(_feedback)
        self.empty_reason: DataLoader[Message, str | None] = loader(_empty_reasons)
        self.branch: DataLoader[Leaf, list[uuid.UUID]] = loader(_branches)
        self.versions: DataLoader[VersionsKey, list[Message]] = loader(_versions)
        self.version_ids: DataLoader[VersionsKey, list[uuid.UUID]] = loader(_version_ids)
        self.html: DataLoader[Source, str] = loader(_rendered)
        self.run_of_message: DataLoader[uuid.UUID, Run | None] = loader(_runs_of_messages)
        self.tags: DataLoader[uuid.UUID, list[str]] = loader(_tags)
        self.active_run: DataLoader[uuid.UUID, Run | None] = loader(_active_runs)


def _conversations(principal: Principal, keys: list[uuid.UUID]) -> list[Conversation | None]:
    return _in_order(keys, Conversation.objects.visible_to(principal).in_bulk(keys))


def _messages(principal: Principal, keys: list[uuid.UUID]) -> list[Message | None]:
    return _in_order(keys, Message.objects.visible_to(principal).in_bulk(keys))


def _files(principal: Principal, keys: list[Message]) -> list[Sequence[AttachedFile]]:
    found = attached_files(keys)
    return [found.get(message.pk, ()) for message in keys]


def _extras(principal: Principal, keys: list[Message]) -> list[dict[str, Any] | None]:
    """Return the extras (everything besides the text) of messages that were read for this caller."""
    load_parts(keys)
    return [message.extras() for message in keys]


def _feedback(principal: Principal, keys: list[Message]) -> list[Feedback | None]:
    return _in_order([message.pk for message in keys], feedback_on(principal, keys))


def _empty_reasons(principal: Principal, keys: list[Message]) -> list[str | None]:
    load_parts(keys)
    return [message.empty_reason for message in keys]


def _branches(principal: Principal, keys: list[Leaf]) -> list[list[uuid.UUID]]:
    """Return the ids from the root to each leaf; none for a leaf that is not in its conversation."""
    parents: dict[uuid.UUID, dict[uuid.UUID, uuid.UUID | None]] = defaultdict(dict)
    wanted = {leaf.conversation_id for leaf in keys if leaf.message_id is not None}
    links = Message.objects.visible_to(principal).filter(conversation_id__in=wanted)
    for conversation_id, message_id, parent_id in links.values_list("conversation_id", "id", "parent_id"):
        parents[conversation_id][message_id] = parent_id
    return [_path(parents[leaf.conversation_id], leaf.message_id) for leaf in keys]


def _path(parents: dict[uuid.UUID, uuid.UUID | None], leaf_id: uuid.UUID | None) -> list[uuid.UUID]:
    path: list[uuid.UUID] = []
    current = leaf_id
    while current is not None and current in parents and len(path) < len(parents):
        path.append(current)
        current = parents[current]
    return path[::-1]


def _versions(principal: Principal, keys: list[VersionsKey]) -> list[list[Message]]:
    found: dict[VersionsKey, list[Message]] = defaultdict(list)
    for query in _queries_of_versions(principal, keys):
        for row in query:
            found[VersionsKey(row.conversation_id, row.parent_id, row.role)].append(row)
    return [found[place] for place in keys]


def _version_ids(principal: Principal, keys: list[VersionsKey]) -> list[list[uuid.UUID]]:
    """Return the ids of the versions, without reading their text."""
    found: dict[VersionsKey, list[uuid.UUID]] = defaultdict(list)
    for query in _queries_of_versions(principal, keys):
        for conversation_id, parent_id, role, pk in query.values_list("conversation_id", "parent_id", "role", "id"):
            found[VersionsKey(conversation_id, parent_id, role)].append(pk)
    return [found[place] for place in keys]


def _queries_of_versions(principal: Principal, keys: list[VersionsKey]) -> Iterator[MessageQuerySet]:
    mine = Message.objects.visible_to(principal).versions().order_by("position")
    if parent_ids := {place.parent_id for place in keys if place.parent_id is not None}:
        yield mine.filter(parent_id__in=parent_ids)
    if rooted := {place.conversation_id for place in keys if place.parent_id is None}:
        yield mine.filter(conversation_id__in=rooted, parent=None)


def _rendered(principal: Principal, keys: list[Source]) -> list[str]:
    return [(_remembered if len(source.text) <= REMEMBERED_CHARS else _html_of)(source) for source in keys]


def _html_of(source: Source) -> str:
    html = render_markdown(source.text, keep_breaks=source.keep_breaks)
    return str.__str__(html)  # a plain str: encoders do not know Django's SafeString


# The same messages are rendered repeatedly: the latest answer, the previous page.
_remembered = lru_cache(maxsize=512)(_html_of)


def _runs_of_messages(principal: Principal, keys: list[uuid.UUID]) -> list[Run | None]:
    runs: Iterable[Run] = Run.objects.visible_to(principal).filter(message_id__in=keys)
    return _in_order(keys, {run.message_id: run for run in runs if run.message_id is not None})


def _tags(principal: Principal, keys: list[uuid.UUID]) -> list[list[str]]:
    found: dict[uuid.UUID, list[str]] = defaultdict(list)
    tags = ConversationTag.objects.visible_to(principal).filter(conversation_id__in=keys)
    for conversation_id, name in tags.values_list("conversation_id", "name"):
        found[conversation_id].append(name)
    return [found[key] for key in keys]


def _active_runs(principal: Principal, keys: list[uuid.UUID]) -> list[Run | None]:
    """Return for each conversation its newest running run, or else the first of those that wait."""
    unfinished = Run.objects.visible_to(principal).filter(conversation_id__in=keys, state__in=UNFINISHED)
    found: dict[uuid.UUID | None, Run] = {}
    for run in unfinished.order_by("created_at", "id"):
        if run.state == Run.State.RUNNING or run.conversation_id not in found:
            found[run.conversation_id] = run
    return [found.get(key) for key in keys]


def _in_order(keys: list[K], found: dict[K, V]) -> list[V | None]:
    return [found.get(key) for key in keys]
