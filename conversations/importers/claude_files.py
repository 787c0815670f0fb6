"""Artifacts and files that Claude's tools wrote -> documents of the turn, with their text."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from conversations.importers.documents import CannotEdit, Documents, Version, find, replace, shown, shown_edit
from conversations.importers.values import identifier, mapping, text

LANGUAGES = {
    "text/markdown": "markdown",
    "text/plain": "text",
    "text/html": "html",
    "image/svg+xml": "svg",
    "application/vnd.ant.react": "jsx",
    "application/vnd.ant.mermaid": "mermaid",
    "application/vnd.ant.code": "code",
}


def run(documents: Documents, before: Version | None, block: Mapping[str, Any]) -> tuple[str, Version | None]:
    """Return what a `tool_use` block shows in its turn, empty for a tool that writes nothing, and the newest version.

    Tools are told apart by what they are given, since they go by several names.
    """
    given = mapping(block.get("input"))
    path = text(given.get("path")) or text(given.get("file_path"))
    is_artifact = block.get("name") == "artifacts"
    key = (identifier(given.get("id")) or "") if is_artifact else path
    if not (is_artifact or path):
        return "", before
    known = find(before, key) if key else before
    title = text(given.get("title")) or PurePosixPath(path).name or (known.title if known and key else key)
    written = next((given[name] for name in ("content", "file_text") if isinstance(given.get(name), str)), None)
    old, new = given.get("old_str"), given.get("new_str")
    at, added = given.get("insert_line"), given.get("insert_text", new)
    if written is not None:
        kind = text(given.get("type"))
        language = text(given.get("language")) or LANGUAGES.get(kind, kind.rpartition("/")[2])
        version = documents.write(
            before, key=key, title=title, language=language or PurePosixPath(path).suffix[1:], text=written
        )
        return shown(version), version
    title = known.title if known else title
    if isinstance(old, str) and isinstance(new, str | None):
        change = functools.partial(_replaced, old, new or "")
    elif isinstance(at, int) and isinstance(added, str):
        old, new, change = "", added, functools.partial(_inserted, at, added)
    else:
        return "", before
    try:
        version = documents.edit(before, key, change)
    except CannotEdit:
        return shown_edit(title, [(old, new or "")]), before
    return shown(version), version


def _replaced(old: str, new: str, known: str, most: int) -> str:
    return replace(known, old, new, most=most)


def _inserted(at: int, added: str, known: str, most: int) -> str:
    lines = known.splitlines(keepends=True)
    if not 0 <= at <= len(lines) or len(known) + len(added) + 1 > most:
        raise CannotEdit
    return "".join([*lines[:at], added if added.endswith("\n") else f"{added}\n", *lines[at:]])
