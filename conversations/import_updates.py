"""Updates messages that an earlier version imported with another text, when they are imported again."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from conversations import digests
from conversations.importers.values import ImportedMessage
from conversations.models import Conversation, Message, MessagePart, load_parts
from conversations.storable import storable_json, storable_text

ROWS = 500


def update_texts(conversation: Conversation, messages: Iterable[tuple[str, ImportedMessage]]) -> int:
    """Update those of `messages`, given with their stored source ids, that still have their former text.

    Return how many were updated. The digests of all messages after them change too. The caller must have locked the
    conversation.
    """
    given = {name: message for name, message in messages if message.formerly}
    stored = Message.objects.of(conversation.pk)
    rows = stored.filter(source_id__in=given) if given else ()
    former = [row for row in rows if row.content == storable_text(given[str(row.source_id)].formerly)]
    if not former:
        return 0
    parts: list[MessagePart] = []
    for row in former:
        message = given[str(row.source_id)]
        extras = storable_json(dict(message.extras)) if message.extras else None
        parts += row.set_content(storable_text(message.content), extras)
    MessagePart.objects.filter(message__in=former).delete()
    Message.objects.bulk_update(former, ["content", "has_parts"], batch_size=ROWS)
    MessagePart.objects.bulk_create(parts, batch_size=ROWS)
    _update_digests(conversation, {row.pk for row in former})
    return len(former)


def _update_digests(conversation: Conversation, rewritten: set[uuid.UUID]) -> None:
    rows = list(Message.objects.of(conversation.pk).oldest_first())  # a parent before its children
    load_parts(rows)
    moved: list[Message] = []
    after: dict[uuid.UUID | None, str] = {}
    followed = set(rewritten)
    for row in rows:
        if row.pk in followed or row.parent_id in followed:
            followed.add(row.pk)
            root = digests.root if row.digest.startswith(digests.TAGGED) else digests.untagged
            before = after.get(row.parent_id, "") if row.parent_id else row.digest and root(conversation.owner_id)
            row.digest = digests.follow(before, row.as_wire()) if before else ""
            moved.append(row)
        after[row.pk] = row.digest
    Message.objects.bulk_update(moved, ["digest"], batch_size=ROWS)
