"""Messages in OpenAI's wire format, one conversation per line: training data, batches, our own export.

When a line without an id is imported again, it is recognised by its messages.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from conversations.chat_wire import text_and_extras
from conversations.importers.values import (
    ImportedConversation,
    ImportedMessage,
    Unusable,
    identifier,
    mapping,
    moment,
    sequence,
    text,
)


def is_one(entry: Mapping[str, Any]) -> bool:
    """Tell whether an entry has this format."""
    return "messages" in entry or "messages" in mapping(entry.get("body")) or "messages" in mapping(entry.get("input"))


def parse(entry: Mapping[str, Any]) -> ImportedConversation:
    """Return the conversation in a line; raises Unusable.

    The line is `{"messages": [...]}`, a batch's `{"custom_id", "body": {"messages"}}`, or a preference pair `{"input":
    {"messages"}, "preferred_output", "non_preferred_output"}`, whose two outputs become branches.
    """
    source = next(
        each for each in (entry, mapping(entry.get("body")), mapping(entry.get("input"))) if "messages" in each
    )
    said = _wires(source.get("messages"))
    better, worse = _wires(entry.get("preferred_output")), _wires(entry.get("non_preferred_output"))
    if not (said or better or worse):
        raise Unusable("it has no messages in it")
    about = {**entry, **source}
    details = sequence(entry.get("details"))
    model = text(about.get("model"))
    created_at = moment(about.get("created_at")) or moment(about.get("created"))
    messages = _chain(said, None, details, model)
    stem = messages[-1].source_id if messages else None
    refused, chosen = _chain(worse, stem, [], model), _chain(better, stem, [], model)
    head = (chosen or messages or refused)[-1].source_id
    messages = [*messages, *refused, *chosen]
    updated_at = moment(entry.get("updated_at"))
    named = (
        identifier(entry.get("id")) or identifier(entry.get("conversation_id")) or identifier(entry.get("custom_id"))
    )
    return ImportedConversation(
        source_id=named or _digest([message.source_id for message in messages]),
        title=text(entry.get("title")),
        messages=tuple({message.source_id: message for message in messages}.values()),
        head=head,
        created_at=created_at,
        updated_at=updated_at,
        archived_at=(updated_at or created_at or messages[-1].created_at) if entry.get("archived") else None,
        pinned_at=(updated_at or created_at or messages[-1].created_at) if entry.get("pinned") else None,
        end_user=text(about.get("user")),
        metadata=mapping(entry.get("metadata")),
        generation=mapping(entry.get("generation")),
        tags=sequence(entry.get("tags")),
    )


def _wires(value: Any) -> list[dict[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(wire, dict) for wire in value):
        raise Unusable("its messages are not a list of messages")
    for wire in value:
        if not isinstance(wire.get("role"), str):
            raise Unusable("one of its messages has no role")
        if not isinstance(wire.get("content"), (str, list, type(None))):
            raise Unusable("the content of one of its messages is neither text nor parts")
    return value


def _chain(
    wires: Sequence[Mapping[str, Any]], parent: str | None, details: Sequence[Any], model: str
) -> list[ImportedMessage]:
    messages = []
    for number, wire in enumerate(wires):
        about = mapping(details[number]) if number < len(details) else {}
        name = identifier(about.get("id")) or identifier(wire.get("id")) or _digest([parent, wire])
        content, extras = text_and_extras({key: value for key, value in wire.items() if key != "id"})
        messages.append(
            ImportedMessage(
                source_id=name,
                parent=parent,
                role=wire["role"],
                content=content,
                created_at=moment(about.get("created_at")),
                author=text(wire.get("name")),
                model=text(about.get("model")) or (model if wire["role"] == "assistant" else ""),
                status=text(about.get("status")) or "complete",
                extras=extras,
            )
        )
        parent = name
    return messages


def _digest(value: Any) -> str:
    body = json.dumps(value, sort_keys=True).encode()
    return f"sha256:{hashlib.sha256(body).hexdigest()}"
