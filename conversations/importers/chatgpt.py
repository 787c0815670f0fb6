"""ChatGPT's conversations, from any version of its export, and our exports like them (`conversations/exporters.py`).

A conversation is a `mapping` of nodes. Links are read from `parent`, since `children` may be missing or incomplete.
What was hidden from the user (settings, reasoning, a tool's input and output) is left out, and the messages after it
are attached to the last visible message before it. The canvas is an exception: its documents become messages.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from conversations.importers import canvas, chatgpt_files
from conversations.importers.documents import Documents, Version, fenced
from conversations.importers.marks import clean
from conversations.importers.tree import Node, arrange, cut_loops, from_the_top
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
SAYING = frozenset({"user", "assistant", "system", "developer"})
SETTINGS = frozenset({"user_editable_context", "model_editable_context"})
REASONING = frozenset({"thoughts", "reasoning_recap"})
TOOL_OUTPUT = frozenset({"execution_output", "tether_quote", "tether_browsing_display", "sonic_webpage"})
SILENT = frozenset({"text", "multimodal_text", "code", "system_error", "app_pairing_content"}) | TOOL_OUTPUT
"""Types of content that may be empty; an empty one of another type is named."""
FINISH_REASONS = {"stop": "stop", "max_tokens": "length", "length": "length"}


def parse(entry: Mapping[str, Any]) -> ImportedConversation:
    """Return the conversation in an entry of `conversations.json`; raises Unusable."""
    if not isinstance(entry.get("mapping"), dict | list):
        raise Unusable("it has no messages in it (no mapping)")
    extension = mapping(entry.get(EXTENSION))
    raw = _raw(entry["mapping"])
    left_out: Counter[str] = Counter()
    nodes = _nodes(raw, _parents(raw, left_out), text(entry.get("default_model_slug")), left_out)
    messages, head = arrange(nodes, identifier(entry.get("current_node")))
    if not messages and not extension:
        raise Unusable("it has no text")
    created_at, updated_at = moment(entry.get("create_time")), moment(entry.get("update_time"))
    archived_at = None
    if entry.get("is_archived"):
        archived_at = moment(extension.get("archived_at")) or updated_at or created_at or _newest(messages)
    return ImportedConversation(
        source_id=identifier(entry.get("conversation_id")) or identifier(entry.get("id")) or _name_from(messages),
        title=text(entry.get("title")) if extension else clean(text(entry.get("title"))).text,
        messages=messages,
        head=head,
        created_at=created_at,
        updated_at=updated_at,
        archived_at=archived_at,
        pinned_at=moment(extension.get("pinned_at")),
        end_user=text(extension.get("end_user")),
        metadata=mapping(extension.get("metadata")) if extension else _metadata(entry),
        generation=mapping(extension.get("generation")),
        tags=sequence(extension.get("tags")),
        left_out=left_out,
    )


def _raw(given: Mapping[str, Any] | list[Any]) -> dict[str, dict[str, Any]]:
    """Return the nodes by their ids; a list of them that names no links is a thread in its order."""
    if not isinstance(given, list):
        return {name: node for name, node in given.items() if isinstance(node, dict)}
    nodes = [node for node in given if isinstance(node, dict)]
    linked = any("parent" in node or "children" in node for node in nodes)
    raw: dict[str, dict[str, Any]] = {}
    before: str | None = None
    for number, node in enumerate(nodes):
        name = identifier(node.get("id")) or identifier(mapping(node.get("message")).get("id")) or f"node:{number}"
        if name in raw and node == raw[name]:
            continue
        name = f"{name}:{number}" if name in raw else name
        raw[name] = node if linked else {**node, "parent": before}
        before = name
    return raw


def _parents(raw: Mapping[str, Mapping[str, Any]], left_out: Counter[str]) -> dict[str, str | None]:
    """Return each node's parent: the one it names, or else the node that lists it as a child."""
    claims: dict[str, list[str]] = defaultdict(list)
    for name, node in raw.items():
        for child in sequence(node.get("children")):
            if isinstance(child, str) and child != name:
                claims[child].append(name)
    linked: dict[str, str | None] = {}
    for name, node in raw.items():
        parent = identifier(node.get("parent"))
        claimed = claims.get(name)
        linked[name] = parent if parent in raw else claimed[-1] if claimed else None
    order = {name: number for number, name in enumerate(raw)}

    def first(name: str) -> tuple[float, bool, int]:
        said = mapping(raw[name].get("message"))
        at = moment(said.get("create_time"))
        role = mapping(said.get("author")).get("role")
        return at.timestamp() if at else math.inf, role != "user", order[name]

    parents = cut_loops(linked, first=first, claims=claims)
    if cut := sum(parents[name] != linked[name] for name in raw):
        left_out["link in a circle"] = cut
    return parents


def _nodes(
    raw: Mapping[str, Mapping[str, Any]],
    parents: Mapping[str, str | None],
    default_model: str,
    left_out: Counter[str],
) -> dict[str, Node]:
    documents = Documents()
    replies = canvas.replies(raw, parents)
    written: dict[str | None, Version | None] = {None: None}  # the newest document after each node
    speakers: dict[str | None, str] = {None: ""}  # who spoke last
    nodes: dict[str, Node] = {}
    for name in from_the_top(parents):
        parent = parents[name]
        said = mapping(raw[name].get("message"))
        own = mapping(mapping(said.get("metadata")).get(EXTENSION))
        position = own.get("position")
        written[name], speakers[name] = written[parent], speakers[parent]
        found: ImportedMessage | str = ""
        if own:
            found = _own_message(name, said, own)
        elif said:
            told = ""
            if canvas.is_call(said) and not _is_hidden(said):
                told, written[name] = canvas.run(documents, written[parent], said, replies.get(name, {}))
            found = _message(name, said, told, speakers[parent], default_model)
        message = found if isinstance(found, ImportedMessage) else None
        if message is not None:
            speakers[name] = message.role
        elif found:
            left_out[str(found)] += 1
        nodes[name] = Node(parent, message, position if isinstance(position, int) else math.inf)
    return {name: nodes[name] for name in raw}


def _own_message(name: str, said: Mapping[str, Any], own: Mapping[str, Any]) -> ImportedMessage:
    """Return a message of an export of ours, as it was."""
    author = mapping(said.get("author"))
    return ImportedMessage(
        source_id=name,
        parent=None,
        role=text(author.get("role")),
        content=text_of(mapping(said.get("content"))),
        created_at=moment(said.get("create_time")),
        author=text(author.get("name")),
        model=text(own.get("model")),
        upstream=text(own.get("upstream")),
        status=text(own.get("status")),
        finish_reason=text(own.get("finish_reason")),
        extras=own.get("parts") if isinstance(own.get("parts"), dict) else None,
        usage=own.get("usage") if isinstance(own.get("usage"), dict) else None,
    )


def _message(
    name: str, said: Mapping[str, Any], document: str, speaker: str, default_model: str
) -> ImportedMessage | str:
    """Return the message of a node; if it was never shown or is empty, the kind that it is counted as.

    `document` is what it wrote on a canvas; `speaker` is the role of the message before it.
    """
    content, about = _content(said), mapping(said.get("metadata"))
    author = mapping(said.get("author"))
    # An answer follows a question: without an author that is all there is to go by.
    role = text(author.get("role")) or ("assistant" if speaker == "user" else "user")
    if kind := _kind_left_out(said, content, text(author.get("role")), document):
        return kind
    drawn = role == "tool"  # a picture that the model generated
    marked = document or text_of(content, pictures_only=drawn)
    pointed, listed = chatgpt_files.files_of(content, {} if document or drawn else about)
    words, annotations = clean("\n\n".join(filter(None, [marked, *(file.mark for file in listed)])), about)
    if not words.strip():
        return "tool output" if drawn else "empty message"
    role = "assistant" if drawn else role
    finish = text(mapping(about.get("finish_details")).get("type"))
    return ImportedMessage(
        source_id=name,
        parent=None,
        role=role,
        content=words,
        created_at=moment(said.get("create_time")),
        author=text(author.get("name")),
        # A question may also name a model: the one that was to answer it.
        model=(text(about.get("model_slug")) or default_model) if role == "assistant" else "",
        status=_status(said, finish),
        finish_reason=FINISH_REASONS.get(finish, ""),
        extras={"annotations": annotations} if annotations else None,
        formerly=marked if marked != words else "",
        files=() if document else (*pointed, *listed),
    )


def _content(said: Mapping[str, Any]) -> dict[str, Any]:
    content = said.get("content")
    return {"parts": [content]} if isinstance(content, str) else mapping(content)


def _kind_left_out(said: Mapping[str, Any], content: Mapping[str, Any], role: str, document: str) -> str:
    """Return the kind of a node that is not imported; empty for one that is."""
    kind = content.get("content_type")
    kind = kind if isinstance(kind, str) else ""
    if _is_hidden(said):
        return "hidden message"
    if document:
        return ""
    if kind in SETTINGS:
        return "settings"
    if kind in REASONING or said.get("channel") == "analysis":
        return "reasoning"
    if said.get("recipient") not in (None, "", "all"):
        return "tool input"
    is_tool = role == "tool" if role else kind in TOOL_OUTPUT
    if is_tool and kind != "multimodal_text":
        return "tool output"
    return "" if role in {*SAYING, "tool", ""} else "message of an unknown role"


def _is_hidden(said: Mapping[str, Any]) -> bool:
    weight = said.get("weight")
    hidden = mapping(said.get("metadata")).get("is_visually_hidden_from_conversation")
    return bool(hidden) or (isinstance(weight, (int, float)) and weight == 0)


def _status(said: Mapping[str, Any], finish: str) -> str:
    if finish == "interrupted":
        return "cancelled"
    unfinished = said.get("status") in ("in_progress", "finished_partial_completion")
    return "interrupted" if unfinished and finish != "max_tokens" else "complete"


def text_of(content: Mapping[str, Any], *, pictures_only: bool = False) -> str:
    """Return any content as text; a picture or recording is only named."""
    kind = text(content.get("content_type"))
    if kind == "code":
        code = text(content.get("text"))
        language = text(content.get("language"))
        return fenced(code, "" if language == "unknown" else language) if code.strip() else ""
    if isinstance(content.get("parts"), list):
        return "\n\n".join(filter(None, [_part(part, pictures_only) for part in content["parts"]]))
    found = text(content.get("text")) or text(content.get("result"))
    return found or (f"[{kind}]" if kind and kind not in SILENT else "")


def _part(part: Any, pictures_only: bool) -> str:
    if isinstance(part, str):
        return "" if pictures_only else part
    part = mapping(part)
    kind = text(part.get("content_type"))
    if (spoken := text(part.get("text"))) and not pictures_only:
        return spoken
    if pointed := chatgpt_files.pointed_to(part):
        return pointed.mark
    return f"[{kind}]" if kind and kind != "audio_transcription" and not pictures_only else ""


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
