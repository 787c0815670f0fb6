"""The ids of this API: a prefix, and the hex of the key of what it names. Those of items are in `items.py`. Pure."""

from __future__ import annotations

import re
import uuid

COMPLETION, RESPONSE, CONVERSATION = "chatcmpl-", "resp_", "conv_"
HEX = re.compile(r"[0-9a-f]{32}\Z", re.ASCII)


def completion_id(run_id: uuid.UUID) -> str:
    return COMPLETION + run_id.hex


def response_id(run_id: uuid.UUID) -> str:
    return RESPONSE + run_id.hex


def conversation_id(pk: uuid.UUID) -> str:
    return CONVERSATION + pk.hex


def key_of(text: str, prefix: str) -> uuid.UUID | None:
    """Return the key in an id with this prefix; None for any other text."""
    found = HEX.match(text, len(prefix)) if text.startswith(prefix) else None
    return uuid.UUID(found[0]) if found else None
