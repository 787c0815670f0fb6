"""The pictures and files that an export has beside its conversations, by the ids that messages call them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from conversations.importers.members import DAMAGE, Member, base_name, find_everything
from conversations.importers.values import Unreadable, text

# ChatGPT's `file-AbC` and `file_0ab`, in pointers like `sediment://file_0ab` and names like `file-AbC-cat.png`;
# elsewhere a UUID, in the name or as that of the folder.
KEY = re.compile(r"(file[-_][0-9A-Za-z]+|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?![0-9A-Za-z])")
ORIGINAL_NAMES = "conversation_asset_file_names.json"
ORIGINAL_NAMES_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class AttachedFile:
    """A file of an export, and what it was called before it was exported."""

    member: Member
    name: str


def key_in(value: Any) -> str:
    """Return the id of a file that is in a pointer or is an id; an empty string if there is none."""
    found = KEY.search(text(value).rpartition("://")[2])
    return found[1] if found else ""


def find_attached(path: Path) -> dict[str, AttachedFile]:
    """Return the files of an export by their keys; of several with one key the first. Raises Unreadable."""
    everything = find_everything(path)
    names = _original_names(everything)
    found: dict[str, AttachedFile] = {}
    for member in everything:
        parts = PurePosixPath(member.name.replace("\\", "/")).parts
        key = next((match[1] for part in reversed(parts) if (match := KEY.match(part))), "")
        if key and member.may_be_kept:
            base = base_name(member.name)
            shown = base.removeprefix(key).lstrip("-_")
            # ChatGPT exports `file-AbC.dat`, whatever it is, and lists the names in a file.
            name = names.get(base) or (base if shown.startswith(".") else shown)
            found.setdefault(key, AttachedFile(member, name))
    return found


def _original_names(everything: list[Member]) -> Mapping[str, str]:
    for member in everything:
        if base_name(member.name) == ORIGINAL_NAMES:
            try:
                with member.open() as file:
                    told = json.loads(file.read(ORIGINAL_NAMES_BYTES))
                return {key: base_name(text(value)) for key, value in told.items()}
            except (ValueError, AttributeError, Unreadable, *DAMAGE):
                break  # the names are a help, no more
    return {}
