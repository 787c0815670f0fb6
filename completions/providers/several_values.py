"""Finds the JSON objects of a body that is not one object: one a line, in a list, or among lines of an event stream."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from completions.providers.sanitize import decode_at

_BEGIN: Final = re.compile(r"[\s\ufeff]*(?:data:\s*)*(?=\{|\[\s*\{)")
_LINE: Final = re.compile(r"[^\r\n]*[\r\n]*")
_DONE: Final = re.compile(r"^[ \t]*(?:data:[ \t]*)?\[DONE\][ \t\r]*$", re.MULTILINE)


def objects_in(raw: bytes) -> tuple[list[dict[str, Any]], bool]:
    """Return the objects up to the first that is broken, and whether one is; lines that are not JSON are skipped."""
    text = raw.decode("utf-8", "replace")
    objects: list[dict[str, Any]] = []
    at = 0
    while at < len(text):
        if begin := _BEGIN.match(text, at):
            try:
                value, at = decode_at(text, begin.end())
            except (ValueError, RecursionError):
                return objects, True
            values = value if isinstance(value, list) else [value]
            objects += (value for value in values if isinstance(value, dict))
        elif line := _LINE.match(text, at):
            at = line.end()
    return objects, False


def event_stream_of(raw: bytes) -> bytes | None:
    """Return a body of several objects as the event stream that it stands for; None if it is something else."""
    objects, is_broken = objects_in(raw)
    if len(objects) + is_broken < 2:
        return None
    done = ["[DONE]"] if not is_broken and _DONE.search(raw.decode("utf-8", "replace")) else []
    return "".join(f"data: {line}\n\n" for line in [*map(json.dumps, objects), *done]).encode()
