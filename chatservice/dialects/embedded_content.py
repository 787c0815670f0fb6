"""Puts content that was taken out of a body back, wherever it is no picture, recording or document of a message."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings

from chatservice.dialects.problems import BadRequest, too_large
from conversations.file_parts import embedded_in
from files.embedded import Arrived, restored

LISTS = ("messages", "input", "items")
CONTENTS = ("content", "output")


def restore_others(body: Any, embedded: Arrived, *, size: int) -> None:
    """Change `body`, which had `size` bytes; raises BadRequest, as 413 if it is too large without its pictures."""
    places = {(id(found.fields), found.name) for part in _parts(body) if (found := embedded_in(part)) is not None}
    level = [body]
    while level:
        below: list[Any] = []
        for container in level:
            for name, value in _entries(container):
                if isinstance(name, str) and restored(name, embedded) != name:
                    raise BadRequest("A key in the body is far too long.", code="invalid_json")
                if isinstance(value, str) and (id(container), name) not in places:
                    container[name] = text = restored(value, embedded)
                    size += len(text) - len(value)
                    if text is not value and 0 < settings.LIMIT_BODY_BYTES < size:
                        raise too_large(beside=True)
                elif isinstance(value, dict | list):
                    below.append(value)
        level = below


def _entries(container: Any) -> list[tuple[Any, Any]]:
    return list(container.items() if isinstance(container, dict) else enumerate(container))


def _parts(body: Any) -> Iterator[Any]:
    """Yield the parts of the messages in a body."""
    for entries in _lists(body, LISTS):
        for entry in entries:
            for parts in _lists(entry, CONTENTS):
                yield from parts


def _lists(value: Any, names: tuple[str, ...]) -> list[list[Any]]:
    fields = [value.get(name) for name in names] if isinstance(value, dict) else []
    return [each for each in fields if isinstance(each, list)]
