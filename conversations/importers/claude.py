"""Claude's conversations: `chat_messages` that name their parents, in an order that cannot be relied on.

A turn consists of its text, the documents that its tools wrote and the names of what cannot be shown, in the order of
its blocks.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from conversations.importers import claude_files, claude_tags
from conversations.importers.attached import key_in
from conversations.importers.documents import Documents, Version, find
from conversations.importers.marks import clean
from conversations.importers.members import base_name
from conversations.importers.tree import Node, arrange, cut_loops, from_the_top
from conversations.importers.values import (
    ImportedConversation,
    ImportedMessage,
    NamedFile,
    Unusable,
    identifier,
    mapping,
    moment,
    sequence,
    text,
)

ROLES = {"human": "user", "user": "user", "assistant": "assistant"}
SPOKEN = frozenset({"text", "voice_note"})
LEFT_OUT = {
    "thinking": "reasoning",
    "redacted_thinking": "reasoning",
    "tool_use": "tool input",
    "tool_result": "tool output",
    "token_budget": "settings",
    "flag": "settings",
}
UNSUPPORTED = re.compile(r"(?:^```\w*[ \t]*\n)?^This block is not supported[^\n]*(?:\n```[ \t]*$)?", re.MULTILINE)


def parse(entry: Mapping[str, Any]) -> ImportedConversation:
    """Return the conversation in an entry of `conversations.json`; raises Unusable."""
    if not isinstance(entry.get("chat_messages"), list):
        raise Unusable("it has no messages in it")
    said = [each for each in entry["chat_messages"] if isinstance(each, dict)]
    # Exports from before branches existed name no parents: the order of their messages is the thread.
    branched = any("parent_message_uuid" in each for each in said)
    raw: dict[str, dict[str, Any]] = {}
    linked: dict[str, str | None] = {}
    before: str | None = None
    for number, each in enumerate(said):
        name = identifier(each.get("uuid")) or f"message:{number}"
        if name in raw:  # two turns under one id are two turns; one that is there twice is one
            if each == raw[name]:
                continue
            name = f"{name}:{number}"
        raw[name] = each
        linked[name] = identifier(each.get("parent_message_uuid")) if branched else before
        before = name
    left_out: Counter[str] = Counter()
    order = {name: number for number, name in enumerate(raw)}
    parents = cut_loops(linked, first=lambda name: (text(raw[name].get("created_at")) or "~", order[name]))
    if cut := sum(parents[name] != linked[name] for name in raw):
        left_out["link in a circle"] = cut
    nodes = _nodes(raw, parents, text(entry.get("model")), left_out)
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
        title=clean(text(entry.get("name"))).text,
        messages=messages,
        head=head,
        created_at=created_at,
        updated_at=updated_at,
        archived_at=archived_at,
        metadata={name: value for name, value in kept.items() if value},
        left_out=left_out,
    )


def _nodes(
    raw: Mapping[str, Mapping[str, Any]], parents: Mapping[str, str | None], model: str, left_out: Counter[str]
) -> dict[str, Node]:
    documents = Documents()
    written: dict[str | None, Version | None] = {}  # the newest document after each message
    speakers: dict[str | None, str] = {}  # who spoke last
    nodes: dict[str, Node] = {}
    for name in from_the_top(parents):
        parent, said = parents[name], raw[name]
        sender = text(said.get("sender"))
        speaker = speakers.get(parent, "")
        # An answer follows a question: without a sender that is all there is to go by.
        role = ROLES.get(sender, "") if sender else "assistant" if speaker == "user" else "user"
        counted = left_out.total()
        marked, written[name] = _text_of(said, role == "assistant", documents, written.get(parent), left_out)
        words = clean(marked).text
        message = None
        if not role:
            left_out["message of an unknown sender"] += 1
        elif not words.strip():
            if left_out.total() == counted:
                left_out["empty message"] += 1
        else:
            message = ImportedMessage(
                source_id=name,
                parent=None,
                role=role,
                content=words,
                created_at=moment(said.get("created_at")),
                model=(text(said.get("model")) or model) if role == "assistant" else "",
                finish_reason="stop" if text(said.get("stop_reason")) in ("stop_sequence", "end_turn") else "",
                formerly=before if (before := _former_text_of(said)) != words else "",
                files=tuple(_files_of(said)),
            )
        speakers[name] = role if message else speaker
        nodes[name] = Node(parent, message)
    return {name: nodes[name] for name in raw}


def _text_of(
    said: Mapping[str, Any], is_answer: bool, documents: Documents, written: Version | None, left_out: Counter[str]
) -> tuple[str, Version | None]:
    """Return the text of a message, with the documents that it wrote and what was attached, and its newest document."""
    shown: list[str] = []
    has_text = False
    content = said.get("content")
    for each in [content] if isinstance(content, str) else sequence(content):
        block = {"text": each} if isinstance(each, str) else mapping(each)
        kind, words = text(block.get("type")) or "text", text(block.get("text"))
        if kind in LEFT_OUT:
            words = ""
        if kind == "tool_use":
            words, written = claude_files.run(documents, written, block)
        elif kind == "tool_result":
            words = _made_files(block, written)
        elif kind not in LEFT_OUT:
            has_text = has_text or bool(words.strip())
            words = words if kind in SPOKEN else f"{_name(kind, block)}\n{words}".rstrip()
            if is_answer:
                words, written = claude_tags.run(documents, written, words, left_out)
        if kind in LEFT_OUT and not words:
            left_out[LEFT_OUT[kind]] += 1
        shown.append(words)
    if not has_text:
        # The text outside of the blocks has a remark in place of what it cannot show.
        flat = UNSUPPORTED.sub("", text(said.get("text"))).strip("\n")
        if is_answer:
            flat, written = claude_tags.run(documents, written, flat, left_out)
        shown.insert(0, flat)
    return "\n\n".join(filter(str.strip, [*shown, *_attached(said)])), written


def _former_text_of(said: Mapping[str, Any]) -> str:
    """Return the text as version 2026.11 read it: of blocks of text alone."""
    blocks = [mapping(block) for block in sequence(said.get("content"))]
    texts = [text(block.get("text")) for block in blocks if block.get("type") == "text"]
    words = "\n\n".join(filter(str.strip, texts)) or ("" if blocks else text(said.get("text")))
    return "\n\n".join(filter(None, [words, *_attached({**said, "files_v2": None})]))


def _name(kind: str, block: Mapping[str, Any]) -> str:
    """Name a block that cannot be shown."""
    name = next(filter(None, (text(block.get(key)) for key in ("title", "file_name", "name"))), "")
    return f"[{kind}: {name}]" if name else f"[{kind}]"


def _made_files(block: Mapping[str, Any], written: Version | None) -> str:
    """Name the files that a tool's result has, except those whose text is in the conversation."""
    files = [mapping(each) for each in sequence(block.get("content"))]
    names = [
        text(each.get("name")) or PurePosixPath(text(each.get("file_path"))).name
        for each in files
        if each.get("type") == "local_resource" and not find(written, text(each.get("file_path")) or "?")
    ]
    return "\n\n".join(f"[file: {name}]" for name in names if name)


def _files_of(said: Mapping[str, Any]) -> list[NamedFile]:
    """Return the files of a message that have a name in its text, in the order of their names there."""
    blocks = [mapping(block) for block in sequence(said.get("content"))]
    others = [block for block in blocks if text(block.get("type")) not in {*SPOKEN, *LEFT_OUT, ""}]
    shown = [(_name(text(block.get("type")), block), block) for block in others if key_in(_file_id(block))]
    shown += [(_mark("file", file), file) for file in _files(said)]
    return [NamedFile(mark, key_in(_file_id(file)), base_name(text(file.get("file_name")))) for mark, file in shown]


def _attached(said: Mapping[str, Any]) -> list[str]:
    attachments = [mapping(each) for each in sequence(said.get("attachments"))]
    found = [_attachment("attachment", each) for each in attachments]
    return found + [_attachment("file", each) for each in _files(said)]


def _files(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    files = [mapping(each) for each in sequence(said.get("files"))]
    # The same files again, as a newer version of the service writes them.
    known = {_file_id(each) for each in files}
    files += [each for each in map(mapping, sequence(said.get("files_v2"))) if _file_id(each) not in known]
    return [each for each in files if text(each.get("file_name")) or _extracted(each)]


def _file_id(file: Mapping[str, Any]) -> str:
    return text(file.get("file_uuid")) or text(file.get("uuid")) or text(file.get("file_name"))


def _attachment(what: str, attached: Mapping[str, Any]) -> str:
    content = _extracted(attached)
    return f"{_mark(what, attached)}\n{content}".rstrip() if text(attached.get("file_name")) or content else ""


def _mark(what: str, attached: Mapping[str, Any]) -> str:
    return f"[{what}: {text(attached.get('file_name')) or 'unnamed'}]"


def _extracted(attached: Mapping[str, Any]) -> str:
    return text(attached.get("extracted_content"))
