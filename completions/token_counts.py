"""Reads the integer token counts from a model server's usage object, which may contain anything. Pure."""

from __future__ import annotations

from typing import Any

PATHS = {
    "input_tokens": ("prompt_tokens",),
    "cached_tokens": ("prompt_tokens_details", "cached_tokens"),
    "output_tokens": ("completion_tokens",),
    "reasoning_tokens": ("completion_tokens_details", "reasoning_tokens"),
}
"""The fields of `Run` that hold them, and where they are in OpenAI's usage object."""


def token_counts(usage: Any) -> dict[str, int | None]:
    """Return the counts by field of `Run`; None for those that are missing or invalid."""
    return {name: _count(usage, path) for name, path in PATHS.items()}


def _count(usage: Any, path: tuple[str, ...]) -> int | None:
    for name in path:
        usage = usage.get(name) if isinstance(usage, dict) else None
    return usage if isinstance(usage, int) and not isinstance(usage, bool) and 0 <= usage < 2**53 else None
