"""Claude's conversations: `chat_messages` that name their parents, in an order that cannot be relied on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from conversations.importers.tree import Node, arrange
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

ROLES = {"human": "user", "user": "user", "assistant": "assistant"}


def parse(entry: Mapping[str, Any]) -> ImportedConversation:
    """Return the conversation in an entry of `conversations.json`; raises Unusable."""
    if not isinstance(entry.get("chat_messages"), list):
        raise Unusable("it has no messages in it")
    said = [each for each in entry["chat_messages"] if isinstance(each, dict)]
    model = text(entry.get("model"))
    # Exports from before branches existed name no parents: the order of their messages is the thread.
    branched = any("parent_message_uuid" in each for each in said)
    nodes: dict[str, Node] = {}
    before: str | None = None
    left_out = 0
    for number, each in enumerate(said):
        name = identifier(each.get("uuid")) or f"message:{number}"
        message = _message(name, each, model)
        left_out += message is None
        nodes[name] = Node(identifier(each.get("parent_message_uuid")) if branched else before, message)
        before = name
    messages, head = arrange(nodes, identifier(entry.get("current_leaf_message_uuid")))
    if not messages:
        raise Unusable("it has no text")
    created_at, updated_at = moment(entry.get("created_at")), moment(entry.get("updated_at"))
    archived_at = (updated_at or created_at or messages[-1].created_at) if entry.get("is_archived") else None
    kept = {
        "project_uuid": identifier(entry.get("project_uuid")),
        "starred": "true" if entry.get("is_starred") else None,
    }
    return ImportedConversation(
        source_id=identifier(entry.get("uuid")) or f"message:{messages[0].source_id}",
        title=text(entry.get("name")),
        messages=messages,
        head=head,
        created_at=created_at,
        updated_at=updated_at,
        archived_at=archived_at,
        metadata={name: value for name, value in kept.items() if value},
        left_out=left_out,
    )


def _message(name: str, said: Mapping[str, Any], model: str) -> ImportedMessage | None:
    role = ROLES.get(text(said.get("sender")))
    words = _text_of(said)
    if role is None or not words.strip():
        return None
    return ImportedMessage(
        source_id=name,
        parent=None,
        role=role,
        content=words,
        created_at=moment(said.get("created_at")),
        model=(text(said.get("model")) or model) if role == "assistant" else "",
        finish_reason="stop" if text(said.get("stop_reason")) in ("stop_sequence", "end_turn") else "",
    )


def _text_of(said: Mapping[str, Any]) -> str:
    """Return the text blocks and the attachments; tool use and thinking are left out."""
    blocks = [mapping(block) for block in sequence(said.get("content"))]
    texts = [text(block.get("text")) for block in blocks if block.get("type") == "text"]
    # The text outside of the blocks has a remark in place of what it cannot show.
    words = "\n\n".join(filter(str.strip, texts)) or ("" if blocks else text(said.get("text")))
    attached = [_attachment(mapping(each)) for each in sequence(said.get("attachments"))]
    files = [
        f"[file: {name}]" for each in sequence(said.get("files")) if (name := text(mapping(each).get("file_name")))
    ]
    return "\n\n".join(filter(None, [words, *attached, *files]))


def _attachment(attached: Mapping[str, Any]) -> str:
    content = text(attached.get("extracted_content"))
    name = text(attached.get("file_name"))
    return f"[attachment: {name or 'unnamed'}]\n{content}".rstrip() if name or content else ""
