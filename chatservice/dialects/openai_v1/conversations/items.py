"""The items of a stored conversation: read a page at a time, found by id, and added as messages."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from django.conf import settings
from django.db import transaction

from accounts.callers import Principal
from chatservice.dialects.file_references import find_files, references_in
from chatservice.dialects.openai_v1.item_parsing import messages_from
from chatservice.dialects.openai_v1.items import items_of, message_id_of
from chatservice.dialects.openai_v1.pages import Page, unknown_position
from chatservice.dialects.openai_v1.responses.references import References
from chatservice.dialects.problems import BadRequest
from completions.types import Wire
from conversations import chat_wire, services
from conversations.branches import branch_ids, in_bulk
from conversations.models import Conversation, Message, load_parts

Item = dict[str, Any]
MAX_ITEMS = 20
AT_ONCE = 100
ENCRYPTED = "reasoning.encrypted_content"


def items_of_message(message: Message, include: Collection[str] = ()) -> list[Item]:
    """Return the items of a message that was read with its parts; none of an answer that says nothing yet."""
    if message.says_nothing and not message.empty_reason:
        return []
    is_whole = message.status == Message.Status.COMPLETE and message.finish_reason != "length"
    items = items_of(message.as_wire(), message_id=message.pk, status="completed" if is_whole else "incomplete")
    if ENCRYPTED not in include:
        items = [item | {"encrypted_content": None} if "encrypted_content" in item else item for item in items]
    return items


def list_items(conversation: Conversation, page: Page, include: Collection[str]) -> list[Item]:
    """Return the items of a page, and one more if there are more; raises BadRequest for an unknown position."""
    ids = branch_ids(conversation.pk, conversation.head_id)
    if page.newest_first:
        ids.reverse()
    if page.after:
        at = message_id_of(page.after) or _holder_of(conversation, page.after)
        if at not in ids:
            raise unknown_position()
        ids = ids[ids.index(at) :]
    items = _walk(ids, include, newest_first=page.newest_first)
    if page.after and not any(item["id"] == page.after for item in items):  # leaves what follows it
        raise unknown_position()
    return [item for item, _ in zip(items, range(page.limit + 1), strict=False)]


def find_item(conversation: Conversation, item_id: str, include: Collection[str] = ()) -> tuple[Message, Item] | None:
    """Return an item of this conversation and the message it belongs to; None if there is none."""
    message_id = message_id_of(item_id) or _holder_of(conversation, item_id)
    message = Message.objects.of(conversation.pk).filter(pk=message_id).first() if message_id else None
    if message is None:
        return None
    load_parts([message])
    return next(((message, item) for item in items_of_message(message, include) if item["id"] == item_id), None)


def read_items(principal: Principal, value: Any) -> Sequence[Wire]:
    """Return the chat messages that the items in a body are, also those it refers to; raises BadRequest."""
    if not isinstance(value, list) or len(value) > MAX_ITEMS:
        raise _invalid("items", f"must be a list of at most {MAX_ITEMS} items")
    if any(isinstance(item, Mapping) and item.get("type") == "compaction_trigger" for item in value):
        raise _invalid("items", "must not ask for a compaction")
    if named := references_in(value, "items"):
        find_files(principal, named)
    references = References(value)
    if references:
        value = references.replaced(value, references.find(principal))
    messages = messages_from(value, where="items")
    limit = settings.LIMIT_MESSAGE_CHARS
    if limit and any(len(chat_wire.split(wire).content) > limit for wire in messages):
        raise _invalid("items", f"must have at most {limit} characters in a message (LIMIT_MESSAGE_CHARS)")
    return messages


@transaction.atomic
def add_messages(conversation: Conversation, messages: Sequence[Wire]) -> list[Message]:
    """Store messages at the end of the shown branch, all or none; raises LimitReached."""
    added = []
    for wire in messages:
        content, extras = chat_wire.text_and_extras(wire)
        role = str(wire["role"])
        added.append(services.append_message(conversation=conversation, role=role, content=content, extras=extras))
        conversation.head_id = added[-1].pk
    load_parts(added)
    return added


def _walk(ids: Sequence[uuid.UUID], include: Collection[str], *, newest_first: bool) -> Iterator[Item]:
    for start in range(0, len(ids), AT_ONCE):
        rows = in_bulk(ids[start : start + AT_ONCE])
        for pk in ids[start : start + AT_ONCE]:
            items = items_of_message(rows[pk], include) if pk in rows else []
            yield from reversed(items) if newest_first else items


def _holder_of(conversation: Conversation, item_id: str) -> uuid.UUID | None:
    """Return the message with an item whose id is not ours but its model server's."""
    ids = Message.objects.of(conversation.pk).filter(has_parts=True, role=Message.Role.ASSISTANT)
    named = list(ids.order_by("-position").values_list("pk", flat=True))
    for start in range(0, len(named), AT_ONCE):
        for pk, message in in_bulk(named[start : start + AT_ONCE]).items():
            if any(item["id"] == item_id for item in items_of_message(message) if "id" in item):
                return pk
    return None


def _invalid(param: str, must: str) -> BadRequest:
    return BadRequest(f"'{param}' {must}.", code="invalid_value", param=param)
