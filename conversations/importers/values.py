"""What importers return, as plain values, and the errors they report."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MILLISECONDS = 1e11
"""A larger number of seconds would be after the year 5138: it is taken for milliseconds."""


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A picture or file that a message refers to. `mark` is what the text has in its place.

    `key` finds it among the files of the export; it is empty if the message does not say which one it is.
    """

    mark: str
    key: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class ImportedMessage:
    """One message. `parent` is the `source_id` of the message before it, None at the beginning.

    `extras` are the fields that it has on the chat wire beyond role, text and name. `formerly` is the text that
    version 2026.11 imported, if it differs. `files` are in the order of their marks in the text.
    """

    source_id: str
    parent: str | None
    role: str
    content: str
    created_at: dt.datetime | None = None
    author: str = ""
    model: str = ""
    upstream: str = ""
    status: str = "complete"
    finish_reason: str = ""
    extras: Mapping[str, Any] | None = None
    usage: Mapping[str, Any] | None = None
    formerly: str = ""
    files: tuple[NamedFile, ...] = ()


@dataclass(frozen=True, slots=True)
class ImportedConversation:
    """One conversation, parents before children. `head` is the `source_id` of the leaf that is shown.

    `left_out` counts what is not imported, by kind: `hidden message`, `tool input`, `reasoning` and the like.
    """

    source_id: str
    title: str
    messages: tuple[ImportedMessage, ...]
    head: str | None
    created_at: dt.datetime | None = None
    updated_at: dt.datetime | None = None
    archived_at: dt.datetime | None = None
    pinned_at: dt.datetime | None = None
    end_user: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    generation: Mapping[str, Any] = field(default_factory=dict)
    tags: Sequence[Any] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A conversation that was not imported, and why."""

    label: str
    reason: str


@dataclass(frozen=True, slots=True)
class Broken:
    """A file that could not be read to its end, and why; the entries before the error were read."""

    name: str
    reason: str


class Unusable(Exception):
    """This entry cannot be imported; the message explains why to the person who imports."""


class Unreadable(Exception):
    """Nothing in this file can be imported; the message says why."""


def text(value: Any) -> str:
    """Return a value that should be a text; '' if it is anything else."""
    return value if isinstance(value, str) else ""


def identifier(value: Any) -> str | None:
    """Return a value that should be an id (a text or an integer) as text; None if it is anything else."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    return str(value) or None


def mapping(value: Any) -> dict[str, Any]:
    """Return a value that should be an object; an empty one if it is anything else."""
    return value if isinstance(value, dict) else {}


def sequence(value: Any) -> list[Any]:
    """Return a value that should be an array; an empty one if it is anything else."""
    return value if isinstance(value, list) else []


def moment(value: Any) -> dt.datetime | None:
    """Return a time given in Unix seconds, Unix milliseconds or ISO 8601; None if it is anything else."""
    if isinstance(value, str):
        return _moment_of_text(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        seconds = float(value)
        if not math.isfinite(seconds) or seconds <= 0:
            return None
        return dt.datetime.fromtimestamp(seconds / 1000 if seconds > MILLISECONDS else seconds, dt.UTC)
    except (OverflowError, ValueError, OSError):
        return None


def _moment_of_text(value: str) -> dt.datetime | None:
    try:
        parsed = dt.datetime.fromisoformat(value.strip())
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=dt.UTC)).astimezone(dt.UTC)
    except (ValueError, OverflowError):
        pass
    try:
        return moment(float(value))
    except ValueError:
        return None
