"""Why an answer ended, as it is stored and as it is shown."""

from __future__ import annotations

MISSING = "missing"
"""Stored if a model's server ended its answer properly but gave no reason."""

CUT_OFF = frozenset({"length", "max_tokens", "model_length"})
"""How servers name the end of an answer that reached the token limit."""

NO_REASONS = frozenset({"", "null", "none", "None"})
"""What servers send in place of a reason that they do not have."""


def shown(finish_reason: str | None) -> str | None:
    """Return the finish reason to show to clients: `stop` for a complete answer without one, None for no reason."""
    return "stop" if finish_reason == MISSING else finish_reason or None
