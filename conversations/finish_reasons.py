"""Why an answer ended, as it is stored and as it is shown."""

from __future__ import annotations

MISSING = "missing"
"""Stored where a model's server ended its answer properly, but did not say why."""


def shown(finish_reason: str | None) -> str | None:
    """Return the finish reason that clients are told: of an answer that is complete, one that they know."""
    return "stop" if finish_reason == MISSING else finish_reason or None
