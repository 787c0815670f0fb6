"""Exports conversations as text for people and other programs: ChatGPT's tree, Markdown, JSONL.

Text is yielded as it is read, a few hundred messages at a time. ChatGPT's format contains everything, so importing it
(`importers/chatgpt.py`) loses nothing; the other two contain only the shown branch. Pictures and files are in ChatGPT's
format and in JSONL as `data:` URLs.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any

from conversations.branches import branch_ids, in_bulk
from conversations.chat_wire import extras_of
from conversations.embedded_files import with_contents
from conversations.finish_reasons import shown
from conversations.models import Conversation, ConversationQuerySet, Message, load_parts

ROWS = 200
SEPARATORS = {ord(each): f"\\u{ord(each):04x}" for each in "\x85\u2028\u2029"}
ROOT = "client-created-root"
EXTENSION = "chat_service"
"""The key under which ChatGPT's format carries what it has no field for."""


class Format(StrEnum):
    CHATGPT = "chatgpt"
    MARKDOWN = "markdown"
    JSONL = "jsonl"

    @property
    def media_type(self) -> str:
        return {"chatgpt": "application/json", "markdown": "text/markdown", "jsonl": "application/x-ndjson"}[self]

    @property
    def suffix(self) -> str:
        return {"chatgpt": ".json", "markdown": ".md", "jsonl": ".jsonl"}[self]


def export_conversation(conversation: Conversation, format: str) -> Iterator[str]:
    """Yield one conversation, in pieces: a JSON object, a Markdown document, or one line of JSONL."""
    return _WRITERS[Format(format)](conversation)


def export_conversations(conversations: ConversationQuerySet, format: str) -> Iterator[str]:
    """Yield many, oldest first, in pieces: as ChatGPT's `conversations.json`, Markdown, or JSONL."""
    before, between, after = {
        Format.CHATGPT: ("[\n", ",\n", "\n]\n"),
        Format.MARKDOWN: ("", "\n---\n\n", ""),
        Format.JSONL: ("", "", ""),
    }[Format(format)]
    yield before
    for number, conversation in enumerate(_each(conversations)):
        if number:
            yield between
        yield from export_conversation(conversation, format)
    yield after


def _each(conversations: ConversationQuerySet) -> Iterator[Conversation]:
    # Paged by key, without a cursor: the connection may go back to the pool between two pieces of a stream.
    ordered = conversations.order_by("id")
    page = list(ordered[:ROWS])
    while page:
        yield from page
        page = list(ordered.filter(id__gt=page[-1].pk)[:ROWS])


# --- ChatGPT's tree


def _chatgpt(conversation: Conversation) -> Iterator[str]:
    names, children = _tree(conversation)
    model = Message.objects.of(conversation.pk).answers().exclude(model="").order_by("-position")
    about = {
        "title": conversation.title,
        "create_time": conversation.created_at.timestamp(),
        "update_time": conversation.updated_at.timestamp(),
        "conversation_id": _name(conversation),
        "id": _name(conversation),
        "current_node": names.get(conversation.head_id, ROOT) if conversation.head_id else ROOT,
        "default_model_slug": model.values_list("model", flat=True).first(),
        "is_archived": conversation.archived_at is not None,
        EXTENSION: {
            "archived_at": conversation.archived_at and conversation.archived_at.isoformat(),
            "pinned_at": conversation.pinned_at and conversation.pinned_at.isoformat(),
            "end_user": conversation.end_user,
            "metadata": conversation.metadata,
            "generation": conversation.generation,
            "tags": conversation.tag_names,
        },
    }
    root = {"id": ROOT, "message": None, "parent": None, "children": children[None]}
    yield f'{json_line(about)[:-1]}, "mapping": {{{json_line(ROOT)}: {json_line(root)}'
    for message in _messages(conversation):
        if message.pk in names:  # newer ones are left to the next export
            node = _node(conversation, message, names.get(message.parent_id, ROOT) if message.parent_id else ROOT)
            yield f",\n{json_line(names[message.pk])}: {json_line({**node, 'children': children[message.pk]})}"
    yield "}}"


def _tree(conversation: Conversation) -> tuple[dict[uuid.UUID, str], dict[uuid.UUID | None, list[str]]]:
    """Return the names of the messages in the export, and for each the names of those that follow it."""
    links = Message.objects.of(conversation.pk).oldest_first().values_list("id", "parent_id", "source_id")
    names: dict[uuid.UUID, str] = {}
    children: dict[uuid.UUID | None, list[str]] = defaultdict(list)
    for pk, parent_id, source_id in links:
        names[pk] = source_id or str(pk)
        children[parent_id].append(names[pk])
    return names, children


def _node(conversation: Conversation, message: Message, parent: str) -> dict[str, Any]:
    name = _name(message)
    metadata: dict[str, Any] = {
        EXTENSION: {
            "position": message.position,
            "status": message.status,
            "model": message.model,
            "upstream": message.upstream,
            "finish_reason": message.finish_reason,
            "usage": message.usage,
            "parts": _extras(conversation, message),
        }
    }
    if message.model:
        metadata["model_slug"] = message.model
    if message.finish_reason:
        metadata["finish_details"] = {"type": shown(message.finish_reason)}
    complete = message.status == Message.Status.COMPLETE
    return {
        "id": name,
        "parent": parent,
        "message": {
            "id": name,
            "author": {"role": message.role, "name": message.author or None, "metadata": {}},
            "create_time": message.created_at.timestamp(),
            "update_time": None,
            "content": {"content_type": "text", "parts": [message.content]},
            "status": "finished_successfully" if complete else "finished_partial_completion",
            "end_turn": True if message.role == Message.Role.ASSISTANT and complete else None,
            "weight": 1.0,
            "metadata": metadata,
            "recipient": "all",
            "channel": None,
        },
    }


# --- Markdown


def _markdown(conversation: Conversation) -> Iterator[str]:
    title = " ".join(conversation.title.split()) or "Untitled"
    archived = " · archived" if conversation.archived_at else ""
    tags = "".join(f" · #{name}" for name in conversation.tag_names)
    yield f"# {title}\n\n*{conversation.created_at:%Y-%m-%d %H:%M} UTC{archived}{tags}*\n"
    if instructions := (conversation.generation or {}).get("instructions"):
        yield f"\n## Instructions\n\n{instructions.rstrip()}\n"
    parents = Message.objects.of(conversation.pk).values_list("parent_id", flat=True)
    versions: Counter[uuid.UUID | None] = Counter(parents)
    for message in messages_to(conversation.pk, conversation.head_id):
        who = f"{message.get_role_display()} ({message.author})" if message.author else message.get_role_display()
        about = [f"{message.created_at:%Y-%m-%d %H:%M} UTC", message.model]
        if message.status != Message.Status.COMPLETE:
            about.append(str(message.get_status_display()).lower())
        if (others := versions[message.parent_id]) > 1:
            about.append(f"one of {others} versions")
        yield f"\n## {who}\n\n*{' · '.join(filter(None, about))}*\n\n{message.content.rstrip()}\n"
        if extras := message.extras():
            yield f"\n```json\n{json.dumps(extras, ensure_ascii=False, indent=2)}\n```\n"


# --- JSONL


def _jsonl(conversation: Conversation) -> Iterator[str]:
    """Yield one line that can be used for fine-tuning; the fields besides `messages` hold everything else."""
    about = {
        "id": _name(conversation),
        "title": conversation.title,
        "created_at": conversation.created_at.isoformat(),
        "updated_at": conversation.updated_at.isoformat(),
        "archived": conversation.archived_at is not None,
        "pinned": conversation.pinned_at is not None,
        "metadata": conversation.metadata,
        "generation": conversation.generation,
        "tags": conversation.tag_names,
    }
    details: list[dict[str, Any]] = []
    yield f'{json_line(about)[:-1]}, "messages": ['
    for message in messages_to(conversation.pk, conversation.head_id):
        yield f"{', ' if details else ''}{json_line(with_contents(message.as_wire(), owner_id=conversation.owner_id))}"
        details.append(
            {
                "id": _name(message),
                "created_at": message.created_at.isoformat(),
                "model": message.model,
                "status": message.status,
            }
        )
    yield f'], "details": {json_line(details)}}}\n'


# --- Reading


def _messages(conversation: Conversation) -> Iterator[Message]:
    rows = Message.objects.of(conversation.pk).oldest_first()
    page = list(rows[:ROWS])
    while page:
        load_parts(page)
        yield from page
        page = list(rows.filter(position__gt=page[-1].position)[:ROWS])


def _extras(conversation: Conversation, message: Message) -> dict[str, Any] | None:
    """Return the same as `message.extras()`, with the content of files."""
    if not message.has_parts:
        return None
    wire = with_contents(message.as_wire(), owner_id=conversation.owner_id)
    return extras_of(wire, role=message.role, content=message.content, author=message.author)


def messages_to(conversation_id: uuid.UUID, leaf_id: uuid.UUID | None) -> Iterator[Message]:
    """Yield the messages of the branch that ends at `leaf_id`, oldest first, except empty answers."""
    ids = branch_ids(conversation_id, leaf_id)
    for start in range(0, len(ids), ROWS):
        rows = in_bulk(ids[start : start + ROWS])
        for pk in ids[start : start + ROWS]:
            message = rows.get(pk)
            if message and not message.says_nothing:
                yield message


def _name(row: Conversation | Message) -> str:
    """Return the id of a row in exports: an imported row keeps its original id, which its source recognises."""
    return row.source_id or str(row.pk)


def json_line(value: Any) -> str:
    """Return `value` as one line of JSON. Escapes the separators that some readers treat as line breaks."""
    return json.dumps(value, ensure_ascii=False).translate(SEPARATORS)


_WRITERS: dict[Format, Callable[[Conversation], Iterator[str]]] = {
    Format.CHATGPT: _chatgpt,
    Format.MARKDOWN: _markdown,
    Format.JSONL: _jsonl,
}
