"""ChatGPT's conversations, from any version of its export, and our exports like them (`conversations/exporters.py`).

A conversation is a `mapping` of nodes. Links are read from `parent`, since `children` may be missing or incomplete.
What was hidden from the user (settings, a tool's input and output) is left out, and the messages after it are attached
to the last visible message before it.
"""

from __future__ import annotations

import math
import re
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

EXTENSION = "chat_service"
SAYING = frozenset({"user", "assistant", "system"})
HIDDEN_CONTENT = frozenset({"user_editable_context", "model_editable_context", "thoughts", "reasoning_recap"})
BACKTICKS = re.compile("`+")
FINISH_REASONS = {"stop": "stop", "max_tokens": "length", "length": "length"}


def parse(entry: Mapping[str, Any]) -> ImportedConversation:
    """Return the conversation in an entry of `conversations.json`; raises Unusable."""
    if not isinstance(entry.get("mapping"), dict):
        raise Unusable("it has no messages in it (no mapping)")
    extension = mapping(entry.get(EXTENSION))
    raw = {name: node for name, node in entry["mapping"].items() if isinstance(node, dict)}
    default_model = text(entry.get("default_model_slug"))
    parents = _parents(raw)
    nodes: dict[str, Node] = {}
    left_out = 0
    for name, node in raw.items():
        said = mapping(node.get("message"))
        own = mapping(mapping(said.get("metadata")).get(EXTENSION))
        message = _message(name, said, own, default_model) if said else None
        left_out += bool(said) and message is None
        position = own.get("position")
        nodes[name] = Node(parents[name], message, position if isinstance(position, int) else math.inf)
    messages, head = arrange(nodes, identifier(entry.get("current_node")))
    if not messages and not extension:
        raise Unusable("it has no text")
    created_at, updated_at = moment(entry.get("create_time")), moment(entry.get("update_time"))
    archived_at = None
    if entry.get("is_archived"):
        archived_at = moment(extension.get("archived_at")) or updated_at or created_at or _newest(messages)
    return ImportedConversation(
        source_id=identifier(entry.get("conversation_id")) or identifier(entry.get("id")) or _name_from(messages),
        title=text(entry.get("title")),
        messages=messages,
        head=head,
        created_at=created_at,
        updated_at=updated_at,
        archived_at=archived_at,
        end_user=text(extension.get("end_user")),
        metadata=mapping(extension.get("metadata")) if extension else _metadata(entry),
        left_out=left_out,
    )


def _parents(raw: Mapping[str, Mapping[str, Any]]) -> dict[str, str | None]:
    """Return each node's parent: the one it names, or else the node that lists it as a child."""
    told = {
        child: name for name, node in raw.items() for child in sequence(node.get("children")) if isinstance(child, str)
    }
    parents: dict[str, str | None] = {}
    for name, node in raw.items():
        parent = identifier(node.get("parent"))
        parents[name] = parent if parent in raw else told.get(name)
    return parents


def _message(name: str, said: Mapping[str, Any], own: Mapping[str, Any], default_model: str) -> ImportedMessage | None:
    """Return the message of a node; None if it was never shown or is empty."""
    author = mapping(said.get("author"))
    role = text(author.get("role"))
    content = mapping(said.get("content"))
    about = mapping(said.get("metadata"))
    words = text_of(content)
    if not own:
        if _is_hidden(said, content, about) or not words.strip():
            return None
        if role == "tool" and content.get("content_type") == "multimodal_text":
            role = "assistant"  # a picture that the model generated
        if role not in SAYING:
            return None
    finish = text(mapping(about.get("finish_details")).get("type"))
    # A question may also name a model: the one that was to answer it.
    model = (text(about.get("model_slug")) or default_model) if role == "assistant" else ""
    return ImportedMessage(
        source_id=name,
        parent=None,
        role=role,
        content=words,
        created_at=moment(said.get("create_time")),
        author=text(author.get("name")),
        model=text(own.get("model")) if own else model,
        upstream=text(own.get("upstream")),
        status=text(own.get("status")) if own else _status(said, finish),
        finish_reason=text(own.get("finish_reason")) if own else FINISH_REASONS.get(finish, ""),
        extras=own.get("parts") if isinstance(own.get("parts"), dict) else None,
        usage=own.get("usage") if isinstance(own.get("usage"), dict) else None,
    )


def _is_hidden(said: Mapping[str, Any], content: Mapping[str, Any], about: Mapping[str, Any]) -> bool:
    weight = said.get("weight")
    return (
        bool(about.get("is_visually_hidden_from_conversation"))
        or (isinstance(weight, (int, float)) and weight == 0)
        or said.get("recipient") not in (None, "", "all")
        or said.get("channel") == "analysis"
        or content.get("content_type") in HIDDEN_CONTENT
    )


def _status(said: Mapping[str, Any], finish: str) -> str:
    if finish == "interrupted":
        return "cancelled"
    unfinished = said.get("status") in ("in_progress", "finished_partial_completion")
    return "interrupted" if unfinished and finish != "max_tokens" else "complete"


def text_of(content: Mapping[str, Any]) -> str:
    """Return any content as text; a picture or recording is only named, since exports store it elsewhere."""
    match content.get("content_type"):
        case "code":
            language = text(content.get("language"))
            code = text(content.get("text"))
            fence = "`" * max(3, 1 + max(map(len, BACKTICKS.findall(code)), default=0))
            return f"{fence}{'' if language == 'unknown' else language}\n{code}\n{fence}" if code.strip() else ""
        case _ if isinstance(content.get("parts"), list):
            return "\n\n".join(filter(None, map(_part, content["parts"])))
        case _:
            return text(content.get("text")) or text(content.get("result"))


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    part = mapping(part)
    kind = text(part.get("content_type"))
    if spoken := text(part.get("text")):
        return spoken
    pointer = part.get("asset_pointer") or mapping(part.get("audio_asset_pointer")).get("asset_pointer")
    if not kind.endswith("asset_pointer"):
        return ""
    what = "image" if kind == "image_asset_pointer" else "recording"
    return f"[{what}: {pointer}]" if isinstance(pointer, str) else f"[{what}]"


def _metadata(entry: Mapping[str, Any]) -> dict[str, str]:
    kept = {"gizmo_id": identifier(entry.get("gizmo_id")), "starred": "true" if entry.get("is_starred") else None}
    return {name: value for name, value in kept.items() if value}


def _newest(messages: tuple[ImportedMessage, ...]) -> Any:
    return max((message.created_at for message in messages if message.created_at), default=None)


def _name_from(messages: tuple[ImportedMessage, ...]) -> str:
    """Derive an id for a conversation without one from its first message, which does not change when it grows."""
    if not messages:
        raise Unusable("it has neither an id nor messages")
    return f"message:{messages[0].source_id}"
