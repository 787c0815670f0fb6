"""A message as OpenAI's wire has it, taken apart the way it is stored; `Message.as_wire` puts it together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def split_wire(wire: Mapping[str, Any]) -> tuple[str, dict[str, Any] | None]:
    """Return a wire message's plain text, and whatever it has beyond role, name and that text."""
    content = wire.get("content")
    parts = {name: value for name, value in wire.items() if name not in ("role", "content", "name")}
    if isinstance(content, str):
        return content, parts or None
    if content is None:
        return "", {**parts, "content": None} if parts else None
    texts = [part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)]
    return "\n".join(texts), {**parts, "content": content}
