"""The ids of files as clients read and write them."""

from __future__ import annotations

import re
import uuid
from typing import Any

PREFIX = "file-"
FILE_ID = re.compile(rf"{PREFIX}([0-9a-f]{{32}})\Z", re.ASCII)


def public_id(pk: uuid.UUID) -> str:
    return f"{PREFIX}{pk.hex}"


def key_of(file_id: Any) -> uuid.UUID | None:
    """Return the key of the file with this id; None for what is not the id of a file."""
    found = FILE_ID.match(file_id) if isinstance(file_id, str) else None
    return uuid.UUID(found[1]) if found else None
