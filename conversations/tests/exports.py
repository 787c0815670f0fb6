"""Exports in the formats of other services, with all their known errors; everything is invented."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

START = 1_700_000_000.25


def node(
    name: str,
    parent: str | None,
    role: str = "user",
    parts: Sequence[Any] | None = None,
    *,
    at: float | None = None,
    content: Any = None,
    author: str | None = None,
    metadata: Any = None,
    children: Sequence[str] = (),
    **fields: Any,
) -> dict[str, Any]:
    """Return one node of a ChatGPT mapping."""
    message = {
        "id": name,
        "author": {"role": role, "name": author, "metadata": {}},
        "create_time": at,
        "update_time": None,
        "content": content or {"content_type": "text", "parts": list(parts if parts is not None else [name])},
        "status": "finished_successfully",
        "end_turn": None,
        "weight": 1.0,
        "metadata": metadata if metadata is not None else {},
        "recipient": "all",
        "channel": None,
        **fields,
    }
    return {"id": name, "message": message, "parent": parent, "children": list(children)}


def root(name: str = "root") -> dict[str, Any]:
    return {"id": name, "message": None, "parent": None, "children": []}


def chat(name: str, *nodes: Mapping[str, Any], current: str | None = None, **fields: Any) -> dict[str, Any]:
    """Return one entry of ChatGPT's conversations.json; `current` is by default the last node."""
    return {
        "title": f"About {name}",
        "create_time": START,
        "update_time": START + 100,
        "mapping": {each["id"]: dict(each) for each in nodes},
        "current_node": current or (nodes[-1]["id"] if nodes else None),
        "conversation_id": name,
        "id": name,
        "is_archived": False,
        "is_starred": None,
        "gizmo_id": None,
        "default_model_slug": "gpt-default",
        **fields,
    }


def without(entry: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name not in names}


def claude_message(name: str, parent: str | None = None, sender: str = "human", **fields: Any) -> dict[str, Any]:
    message = {
        "uuid": name,
        "text": name,
        "content": [{"type": "text", "text": name}],
        "sender": sender,
        "created_at": "2026-03-01T10:00:00.123456Z",
        "attachments": [],
        "files": [],
        **fields,
    }
    return message if parent is None else {**message, "parent_message_uuid": parent}


def write_zip(path: Path, files: Mapping[str, Any]) -> Path:
    """Write `files` (JSON values or bytes, by name) into a zip."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in files.items():
            archive.writestr(name, value if isinstance(value, bytes) else json.dumps(value))
    return path
