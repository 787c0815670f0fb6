"""Stores imported history, many conversations per transaction; importing the same history again adds nothing.

A conversation is recognised by its owner and `source_id`, or by its own id if it comes back from one of our exports; so
are its messages. Only what is not stored yet is added. Texts that an earlier version read otherwise are updated.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import uuid_utils
from django.conf import settings
from django.db import DataError, IntegrityError, transaction
from django.utils import timezone

from accounts.guests import as_id
from accounts.models import User
from conversations import digests, quota
from conversations.chat_wire import ROLES, with_extras
from conversations.embedded_files import embedded_parts
from conversations.generation import readable_generation
from conversations.import_updates import update_texts
from conversations.importers.values import ImportedConversation, ImportedMessage, Skipped
from conversations.models import Conversation, ConversationTag, Message, MessagePart
from conversations.services import announce_messages
from conversations.storable import storable_json, storable_name, storable_text
from conversations.tags import readable_tags, tag_rows

# A batch takes a tenth of a second, for which other writers wait on SQLite.
BATCH_MESSAGES = 250
BATCH_CHARS = 1_000_000
ROWS = 500
NAME_CHARS = 200
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
STATUSES = frozenset(Message.Status.values)


@dataclass(slots=True)
class Tally:
    """The counts of an import: how many conversations were added, extended, unchanged or skipped.

    `left_out` counts by kind what was not imported, `updated` the messages of an earlier import that got a new text.
    """

    created: int = 0
    grown: int = 0
    unchanged: int = 0
    messages: int = 0
    updated: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    skipped: list[Skipped] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Add the numbers of another batch, but not its `skipped`, which are reported one by one."""
        for name in ("created", "grown", "unchanged", "messages", "updated"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.left_out.update(other.left_out)


@dataclass(slots=True)
class _Stored:
    """A conversation that is already stored: the ids and digests of its messages, by source id or id."""

    row: Conversation
    messages: dict[str, tuple[uuid.UUID, str]] = field(default_factory=dict)
    imported: set[uuid.UUID] = field(default_factory=set)

    def missing(self, messages: Iterable[ImportedMessage]) -> list[ImportedMessage]:
        return [message for message in messages if _name(message.source_id) not in self.messages]


def in_batches(conversations: Iterable[ImportedConversation]) -> Iterator[list[ImportedConversation]]:
    """Yield `conversations` in batches, one transaction each; no batch contains a conversation twice."""
    batch: list[ImportedConversation] = []
    names: set[str] = set()
    messages = chars = 0
    for conversation in conversations:
        if batch and (conversation.source_id in names or messages >= BATCH_MESSAGES or chars >= BATCH_CHARS):
            yield batch
            batch, names, messages, chars = [], set(), 0, 0
        batch.append(conversation)
        names.add(conversation.source_id)
        messages += len(conversation.messages) + 1
        chars += sum(map(_chars, conversation.messages))
    if batch:
        yield batch


def _chars(message: ImportedMessage) -> int:
    embedded = embedded_parts([message.extras]) if message.extras else ()
    return len(message.content) + sum(len(part.text) for part in embedded)


def import_batch(*, owner: User, conversations: Sequence[ImportedConversation]) -> Tally:
    """Store a batch; if the database refuses it, store its conversations one by one, skipping those that it refuses."""
    try:
        return import_conversations(owner=owner, conversations=conversations)
    except (DataError, IntegrityError) as error:
        if len(conversations) == 1:
            reason = f"the database refuses it ({type(error).__name__})"
            return Tally(skipped=[Skipped(_label(conversations[0]), reason)])
    tally = Tally()
    for conversation in conversations:
        part = import_batch(owner=owner, conversations=[conversation])
        tally.add(part)
        tally.skipped += part.skipped
    return tally


@transaction.atomic
def import_conversations(*, owner: User, conversations: Sequence[ImportedConversation]) -> Tally:
    """Store the new parts of `conversations` (each occurs once, see `in_batches`) for `owner`."""
    # One import at a time per owner: two at once would both store the same conversation.
    User.objects.select_for_update(no_key=True).get(pk=owner.pk)
    stored = _stored(owner, [conversation.source_id for conversation in conversations])
    tally = Tally()
    rows = _Rows(owner)
    room = _room(owner)
    limit = settings.LIMIT_MESSAGES_PER_CONVERSATION
    held = before = quota.held(owner.pk)
    for conversation in conversations:
        tally.left_out.update(conversation.left_out)
        known = stored.get(_name(conversation.source_id))
        new = known.missing(conversation.messages) if known else list(conversation.messages)
        size = len(new) + (len(known.messages) if known else 0)
        if known is not None and not new:
            tally.unchanged += 1
        elif limit and size > limit:
            reason = f"it has {size} messages; the setting LIMIT_MESSAGES_PER_CONVERSATION allows {limit}"
            tally.skipped.append(Skipped(_label(conversation), reason))
        elif reason := quota.reason_against(held, messages=len(new)):
            tally.skipped.append(Skipped(_label(conversation), reason))
        elif known is not None:
            rows.grow(known, conversation, new)
            tally.grown += 1
            tally.messages += len(new)
        elif room is not None and tally.created >= room:
            most = settings.LIMIT_CONVERSATIONS_PER_USER
            reason = f"the account is full; the setting LIMIT_CONVERSATIONS_PER_USER allows {most}"
            tally.skipped.append(Skipped(_label(conversation), reason))
        else:
            rows.create(conversation)
            tally.created += 1
            tally.messages += len(new)
        held = quota.Held(before.messages + tally.messages, before.bytes)
    rows.write()
    for conversation in conversations:
        if known := stored.get(_name(conversation.source_id)):
            named = ((_name(message.source_id), message) for message in conversation.messages)
            if updated := update_texts(known.row, named):
                tally.updated += updated
                announce_messages(known.row.pk)
    return tally


def _stored(owner: User, source_ids: Sequence[str]) -> dict[str, _Stored]:
    """Lock and return the already stored conversations, by source id."""
    names = [_name(source_id) for source_id in source_ids]
    mine = Conversation.objects.filter(owner=owner)
    found = {row.source_id: _Stored(row) for row in mine.filter(source_id__in=names).select_for_update(no_key=True)}
    ids = [pk for name in names if name not in found and (pk := as_id(name)) is not None]
    for row in mine.filter(pk__in=ids, source_id=None).select_for_update(no_key=True):
        found[str(row.pk)] = _Stored(row)
    by_id = {each.row.pk: each for each in found.values()}
    links = Message.objects.filter(conversation__in=by_id).values_list("conversation_id", "id", "source_id", "digest")
    for conversation_id, pk, source_id, digest in links.iterator():
        by_id[conversation_id].messages[source_id or str(pk)] = (pk, digest)
        if source_id:
            by_id[conversation_id].imported.add(pk)
    return found  # type: ignore[return-value]  # those with no source id stand under their own


def _room(owner: User) -> int | None:
    """Return how many more conversations the account may hold; None without a limit."""
    limit = settings.LIMIT_CONVERSATIONS_PER_USER
    held = Conversation.objects.opened_by_hand().filter(owner__in=User.objects.sharing_limits(owner.pk))
    return max(0, limit - held.count()) if limit else None


class _Rows:
    """The rows of one batch."""

    def __init__(self, owner: User) -> None:
        self._owner = owner
        self._now = timezone.now()
        self._conversations: list[Conversation] = []
        self._tags: list[ConversationTag] = []
        self._messages: list[Message] = []
        self._parts: list[MessagePart] = []
        self._changed: list[Conversation] = []

    def create(self, given: ImportedConversation) -> None:
        newest = max((message.created_at for message in given.messages if message.created_at), default=None)
        created_at = given.created_at or min(
            (message.created_at for message in given.messages if message.created_at), default=self._now
        )
        row = Conversation(
            id=_id_at(created_at),
            owner=self._owner,
            title=storable_text(" ".join(given.title.split()), NAME_CHARS),
            end_user=storable_text(given.end_user, NAME_CHARS),
            metadata=storable_json(dict(given.metadata)),
            generation=readable_generation(storable_json(dict(given.generation))),
            created_at=created_at,
            updated_at=given.updated_at or newest or created_at,
            archived_at=given.archived_at,
            pinned_at=given.pinned_at,
            source_id=_name(given.source_id),
        )
        known: dict[str, tuple[uuid.UUID, str]] = {}
        for message in given.messages:
            self._add(row, message, known)
        row.head_id = known[_name(given.head)][0] if given.head is not None else None
        self._conversations.append(row)
        self._tags += tag_rows(row, readable_tags(given.tags))

    def grow(self, stored: _Stored, given: ImportedConversation, new: Sequence[ImportedMessage]) -> None:
        row = stored.row
        for message in new:
            self._add(row, message, stored.messages)
        # Show the imported leaf, unless the conversation was continued here.
        if given.head is not None and (row.head_id is None or row.head_id in stored.imported):
            row.head_id = stored.messages[_name(given.head)][0]
        row.updated_at = max(row.updated_at, given.updated_at or row.updated_at)
        self._changed.append(row)

    def _add(self, row: Conversation, given: ImportedMessage, known: dict[str, tuple[uuid.UUID, str]]) -> None:
        name = _name(given.source_id)
        if name in known:  # two ids that differ only in characters that cannot be stored
            return
        parent_id, before = known[_name(given.parent)] if given.parent else (None, digests.root(self._owner.pk))
        created_at = given.created_at or row.created_at
        role, status = given.role, given.status or Message.Status.COMPLETE
        extras: dict[str, Any] | None = storable_json(dict(given.extras)) if given.extras else None
        if role not in ROLES:  # as_wire() gives it back
            role, extras = Message.Role.USER, {**(extras or {}), "role": storable_text(role)}
        if status not in STATUSES or status == Message.Status.IN_PROGRESS:  # no process will ever finish this answer
            status = Message.Status.INTERRUPTED
        message = Message(
            id=_id_at(created_at),
            conversation_id=row.pk,
            parent_id=parent_id,
            position=row.next_position,
            role=role,
            author=storable_text(given.author, NAME_CHARS),
            model=storable_text(given.model, NAME_CHARS),
            upstream=storable_text(given.upstream, 100),
            status=status,
            finish_reason=storable_text(given.finish_reason, 40),
            usage=storable_json(dict(given.usage)) if given.usage else None,
            created_at=created_at,
            source_id=name,
        )
        content = storable_text(given.content)
        self._parts += message.set_content(content, extras)
        wire = with_extras(role, content, message.author, extras)
        message.digest = digests.follow(before, wire) if before else ""
        row.next_position += 1
        known[name] = (message.pk, message.digest)
        self._messages.append(message)

    def write(self) -> None:
        Conversation.objects.bulk_create(self._conversations, batch_size=ROWS)
        ConversationTag.objects.bulk_create(self._tags, batch_size=ROWS)
        Message.objects.bulk_create(self._messages, batch_size=ROWS)
        MessagePart.objects.bulk_create(self._parts, batch_size=ROWS)
        Conversation.objects.bulk_update(self._changed, ["head", "next_position", "updated_at"], batch_size=ROWS)
        for row in (*self._conversations, *self._changed):
            announce_messages(row.pk)


def _name(source_id: str) -> str:
    return storable_name(source_id, NAME_CHARS)


def _id_at(moment: dt.datetime) -> uuid.UUID:
    """Return a new id that sorts by this time; all ids sort by time."""
    since = max(dt.timedelta(0), moment - EPOCH)
    return uuid.UUID(int=uuid_utils.uuid7(nanoseconds=since // dt.timedelta(microseconds=1) * 1000).int)


def _label(conversation: ImportedConversation) -> str:
    return f'"{conversation.title[:60]}" ({conversation.source_id[:60]})'
