"""What is read, how much of it, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

# The media types that are read, and the modules that read them: each has `pieces`, which yields text.
MODULES: Final = MappingProxyType(
    {
        "text/plain": "plain",
        "application/pdf": "pdf",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    }
)


class Reason(StrEnum):
    """Why a text is missing, or ends before its file does."""

    NONE = ""
    LENGTH = "length"
    TIME = "time"
    MEMORY = "memory"
    ENCRYPTED = "encrypted"
    DAMAGED = "damaged"
    MISSING = "missing"
    CRASHED = "crashed"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file may take: characters of text, memory, processor time, and time on the clock."""

    chars: int
    memory_bytes: int = 512 * 2**20
    cpu_seconds: int = 30
    seconds: int = 60


@dataclass(frozen=True, slots=True)
class Reading:
    """The text of a file, as far as it was read."""

    text: str
    reason: Reason


class Encrypted(Exception):
    """The file cannot be read without a password."""
