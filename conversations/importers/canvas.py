"""ChatGPT's canvas: documents that calls to `canmore` write, change and comment on."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from conversations.importers.documents import (
    EVERYTHING,
    CannotEdit,
    Documents,
    Version,
    fenced,
    find,
    shown,
    shown_edit,
    substitute,
)
from conversations.importers.values import identifier, mapping, sequence, text

TOOL = "canmore"


def is_call(said: Mapping[str, Any]) -> bool:
    """Tell whether a message is a call to the canvas."""
    return text(said.get("recipient")).partition(".")[0] == TOOL


def replies(raw: Mapping[str, Mapping[str, Any]], parents: Mapping[str, str | None]) -> dict[str, dict[str, Any]]:
    """Return what the canvas answered to each call, by the call's node: the document's id, title and type."""
    found: dict[str, dict[str, Any]] = {}
    for name, node in raw.items():
        said = mapping(node.get("message"))
        told = mapping(mapping(said.get("metadata")).get("canvas"))
        if told and (parent := parents[name]) is not None and mapping(said.get("author")).get("role") == "tool":
            found.setdefault(parent, told)
    return found


def run(
    documents: Documents, before: Version | None, said: Mapping[str, Any], reply: Mapping[str, Any]
) -> tuple[str, Version | None]:
    """Return what a call shows in the conversation, and the newest version after it."""
    content = mapping(said.get("content"))
    written = text(content.get("text")) or "".join(map(text, sequence(content.get("parts"))))
    function = text(said.get("recipient")).partition(".")[2]
    try:
        call = mapping(json.loads(written))
    except (ValueError, RecursionError):
        call = {}
    told = {**mapping(mapping(said.get("metadata")).get("canvas")), **reply}
    key = identifier(told.get("textdoc_id")) or identifier(call.get("textdoc_id")) or identifier(call.get("id")) or ""
    title = text(told.get("title")) or text(call.get("name")) or text(call.get("title"))
    if isinstance(call.get("content"), str):
        kind = text(call.get("type")) or text(told.get("textdoc_type"))
        version = documents.write(
            before,
            key=key or title,
            title=title,
            language=kind.removeprefix("code/"),
            text=call["content"],
        )
        return shown(version), version
    known = find(before, key) or (find(before, title) if title else None)
    title = title or (known.title if known else "")
    updates = [mapping(each) for each in sequence(call.get("updates"))]
    comments = [mapping(each) for each in sequence(call.get("comments"))]
    if updates:
        try:
            version = documents.edit(before, known.key if known else key, functools.partial(_updated, updates))
        except CannotEdit:
            return _edits(documents, before, key, title, updates)
        return shown(version), version
    if comments:
        remarks = [f"- {_quoted(text(each.get('pattern')))}{text(each.get('comment'))}" for each in comments]
        return "\n".join([f"[comments on the document: {title or 'unnamed'}]\n", *remarks]), before
    if not written.strip() or [] in (call.get("updates"), call.get("comments")):
        return "", before
    return f"[document: {title or function or 'unnamed'}]\n\n{fenced(written, '')}", before


def _updated(updates: list[dict[str, Any]], known: str, most: int) -> str:
    for each in updates:
        pattern, new = text(each.get("pattern")), text(each.get("replacement"))
        known = substitute(known, pattern, new, most=most, every=bool(each.get("multiple")))
    return known


def _edits(
    documents: Documents, before: Version | None, key: str, title: str, updates: list[dict[str, Any]]
) -> tuple[str, Version | None]:
    """Show updates that cannot be carried out; one that replaces everything needs no text before it."""
    try:
        if text(updates[0].get("pattern")) not in EVERYTHING:
            raise CannotEdit
        whole = _updated(updates, "", sum(len(text(each.get("replacement"))) for each in updates))
    except CannotEdit:
        pairs = [(text(each.get("pattern")), text(each.get("replacement"))) for each in updates]
        return shown_edit(title, pairs), before
    version = documents.write(before, key=key or title, title=title, language="", text=whole)
    return shown(version), version


def _quoted(pattern: str) -> str:
    return f'"{" ".join(pattern.split())}": ' if pattern else ""
