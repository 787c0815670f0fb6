"""Gives a server of chat completions its own reasoning back, with the calls that it led to.

DeepSeek and Kimi refuse a history in which a call lacks its reasoning, even in later turns; other models answer worse
without it. Servers read only the field in which they send it.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from completions.types import Wire
from conversations.branches import branch_ids
from conversations.chat_wire import join
from conversations.models import MessagePart
from conversations.reasoning import REASONING

FIELD = "given_back"
ROWS = 200


class GivenBack(NamedTuple):
    """The reasoning of an answer in its own fields, and the upstream that wrote it, which alone may get it."""

    upstream: str
    fields: Wire


def given_back(wire: Wire, upstream: str) -> dict[str, Any]:
    """Return the field with the reasoning of a stored answer that calls tools; nothing for another answer."""
    fields = {name: wire[name] for name in REASONING if wire.get(name) is not None}
    return {FIELD: GivenBack(upstream, fields)} if fields and wire.get("tool_calls") else {}


def for_upstream(messages: Sequence[Wire], upstream: str) -> Sequence[Wire]:
    """Return messages as this upstream gets them: with its own reasoning, and without that of others."""
    return [_sent(wire, upstream) if isinstance(wire.get(FIELD), GivenBack) else wire for wire in messages]


def with_stored_reasoning(
    messages: Sequence[Wire], conversation_id: uuid.UUID, leaf_id: uuid.UUID | None, upstream: str
) -> Sequence[Wire]:
    """Return the messages of a call that resends its history with what is stored of their reasoning.

    The branch that ends in `leaf_id` holds the same messages. The items of a Responses request do not tell who wrote
    them, nor in which field.
    """
    ids = branch_ids(conversation_id, leaf_id) if any(wire.get("tool_calls") for wire in messages) else []
    if len(ids) != len(messages):
        return messages
    calling = {pk: at for at, pk in enumerate(ids) if messages[at].get("tool_calls")}
    found: dict[uuid.UUID, list[MessagePart]] = defaultdict(list)
    kinds = (MessagePart.Kind.REASONING, MessagePart.Kind.TOOL_CALL)
    for start in range(0, len(calling), ROWS):
        some = list(calling)[start : start + ROWS]
        for part in MessagePart.objects.filter(message__in=some, message__upstream=upstream, kind__in=kinds):
            found[part.message_id].append(part)
    sent = list(messages)
    for pk, parts in found.items():
        at = calling[pk]
        sent[at] = {**sent[at], **given_back(join("assistant", "", parts), upstream)}
    return sent


def _sent(wire: Wire, upstream: str) -> Wire:
    given: GivenBack = wire[FIELD]
    own = given.fields if given.upstream == upstream else {}
    return {**{name: value for name, value in wire.items() if name != FIELD}, **own}
