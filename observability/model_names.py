"""Names of models as values of a label: those that are known, so that no client can make a series."""

from __future__ import annotations

import contextlib

from completions import providers
from completions.exceptions import ProviderError

OTHER = "other"
MAX_NAMES = 200
REFRESH_SECONDS = 600.0

_known: frozenset[str] = frozenset()
_used: set[str] = set()


def label_of(model: str) -> str:
    """Return the model's name, or `other` if it is unknown, or if MAX_NAMES are in use."""
    if model in _used:
        return model
    if model not in (_known or providers.known_models()) or len(_used) >= MAX_NAMES:
        return OTHER
    _used.add(model)
    return model


async def refresh() -> None:
    """Ask the upstreams for their models, unless somebody did a moment ago."""
    global _known
    with contextlib.suppress(ProviderError):
        await providers.list_models()
    _known = providers.known_models()
