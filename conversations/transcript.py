"""Reads one branch of a conversation for staff: a page of messages, each with its versions. Checks no permissions."""

from __future__ import annotations

import json
import uuid
from collections import defaultdict
from dataclasses import dataclass

from django.utils.safestring import SafeString

from conversations.branches import in_bulk
from conversations.empty_answers import describe
from conversations.models import Conversation, Message, MessagePart
from conversations.rendering import render_markdown
from conversations.shown_files import ShownFile, shown_files

PER_PAGE = 100


@dataclass(frozen=True, slots=True)
class Entry:
    """A message and its place among its versions; `previous` and `next` are the leaves of the neighbouring branches."""

    message: Message
    version: int
    versions: int
    previous: uuid.UUID | None
    next: uuid.UUID | None
    previous_message: uuid.UUID | None
    next_message: uuid.UUID | None
    sought: bool
    files: list[ShownFile]

    @property
    def body(self) -> SafeString:
        return render_markdown(self.message.content, keep_breaks=self.message.role == Message.Role.USER)

    @property
    def parts(self) -> str:
        """Return the message's parts besides its text, as JSON."""
        extras = self.message.extras()
        return json.dumps(extras, ensure_ascii=False, indent=2) if extras else ""

    @property
    def empty(self) -> str:
        """Return a sentence if the answer has no text, or an empty string."""
        reason = self.message.empty_reason
        return describe(reason, self.message.finish_reason) if reason else ""

    @property
    def tokens(self) -> str:
        usage = self.message.usage or {}
        asked, answered = usage.get("prompt_tokens"), usage.get("completion_tokens")
        return (
            f"{asked if asked is not None else '?'} in, {answered if answered is not None else '?'} out"
            if usage
            else ""
        )


@dataclass(frozen=True, slots=True)
class Transcript:
    entries: list[Entry]
    leaf: uuid.UUID | None
    page: int
    pages: int
    length: int
    branches: int
    shown: bool
    """Whether this is the branch that the owner sees."""


class Tree:
    """The links between one conversation's messages, without their content."""

    def __init__(self, conversation: Conversation) -> None:
        links = Message.objects.of(conversation.pk).oldest_first().values_list("id", "parent_id")
        self.parents: dict[uuid.UUID, uuid.UUID | None] = dict(links)
        self.children: dict[uuid.UUID | None, list[uuid.UUID]] = defaultdict(list)
        for pk, parent_id in self.parents.items():
            self.children[parent_id if parent_id in self.parents else None].append(pk)

    def newest_leaf(self, pk: uuid.UUID) -> uuid.UUID:
        """Return the last message below `pk`, always following the newest child."""
        while self.children[pk]:
            pk = self.children[pk][-1]
        return pk

    def path(self, leaf: uuid.UUID | None) -> list[uuid.UUID]:
        path: list[uuid.UUID] = []
        while leaf is not None and leaf in self.parents and len(path) <= len(self.parents):
            path.append(leaf)
            leaf = self.parents[leaf]
        return path[::-1]

    def siblings(self, pk: uuid.UUID) -> list[uuid.UUID]:
        parent = self.parents[pk]
        return self.children[parent if parent in self.parents else None]

    @property
    def leaves(self) -> int:
        return sum(1 for pk in self.parents if not self.children[pk])


def read_transcript(
    conversation: Conversation,
    *,
    leaf: uuid.UUID | None = None,
    sought: uuid.UUID | None = None,
    page: int | None = None,
) -> Transcript:
    """Return a page of the branch that ends at `leaf`, or contains `sought`, or is shown; unknown ids are ignored.

    Without `page` it is the page with `sought` on it, else the first one.
    """
    tree = Tree(conversation)
    if sought is not None and sought not in tree.parents:
        sought = None
    path = tree.path(leaf)
    if sought is not None and sought not in path:
        path = tree.path(conversation.head_id)
        path = path if sought in path else tree.path(tree.newest_leaf(sought))
    path = (
        path
        or tree.path(conversation.head_id)
        or (tree.path(tree.newest_leaf(next(iter(tree.parents)))) if tree.parents else [])
    )
    pages = max(1, -(-len(path) // PER_PAGE))
    if page is None:
        page = path.index(sought) // PER_PAGE + 1 if sought in path else 1
    page = min(max(1, page), pages)
    ids = path[(page - 1) * PER_PAGE : page * PER_PAGE]
    rows = in_bulk(ids)
    files = shown_files(MessagePart.objects.filter(message__in=[pk for pk, row in rows.items() if row.has_parts]))
    return Transcript(
        entries=[_entry(tree, rows[pk], pk == sought, files.get(pk, [])) for pk in ids if pk in rows],
        leaf=path[-1] if path else None,
        page=page,
        pages=pages,
        length=len(path),
        branches=tree.leaves,
        shown=bool(path) and path[-1] == conversation.head_id,
    )


def _entry(tree: Tree, message: Message, sought: bool, files: list[ShownFile]) -> Entry:
    versions = tree.siblings(message.pk)
    place = versions.index(message.pk)
    before = versions[place - 1] if place else None
    after = versions[place + 1] if place + 1 < len(versions) else None
    return Entry(
        message=message,
        version=place + 1,
        versions=len(versions),
        previous=tree.newest_leaf(before) if before else None,
        next=tree.newest_leaf(after) if after else None,
        previous_message=before,
        next_message=after,
        sought=sought,
        files=files,
    )
