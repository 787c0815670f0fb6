"""The pictures, recordings and files that ChatGPT's messages refer to.

A picture or recording is a part of the content, which points to it. What was uploaded, pictures too, is listed in the
metadata by id and name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from conversations.importers.attached import key_in
from conversations.importers.members import base_name
from conversations.importers.values import NamedFile, mapping, sequence, text


def pointed_to(part: Mapping[str, Any]) -> NamedFile | None:
    """Return the picture or recording that a part of a message points to; None for a part of another kind."""
    kind = text(part.get("content_type"))
    if not kind.endswith("asset_pointer"):
        return None
    pointer = part.get("asset_pointer") or mapping(part.get("audio_asset_pointer")).get("asset_pointer")
    what = "image" if kind == "image_asset_pointer" else "recording"
    return NamedFile(f"[{what}: {pointer}]" if isinstance(pointer, str) else f"[{what}]", key_in(pointer))


def files_of(content: Mapping[str, Any], about: Mapping[str, Any]) -> tuple[list[NamedFile], list[NamedFile]]:
    """Return the files that a message's content points to, and the uploaded ones that only its metadata lists."""
    names: dict[str, str] = {}
    for each in map(mapping, sequence(about.get("attachments"))):
        if name := " ".join(base_name(text(each.get("name"))).split()):
            names[key_in(each.get("id")) or name] = name
    pointed = [found for part in map(mapping, sequence(content.get("parts"))) if (found := pointed_to(part))]
    pointed = [NamedFile(each.mark, each.key, names.pop(each.key, "")) for each in pointed]
    return pointed, [NamedFile(f"[file: {name}]", key_in(key), name) for key, name in names.items()]
