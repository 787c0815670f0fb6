"""Signals of the service as a whole: names and numbers, never content."""

from __future__ import annotations

import re

from django.conf import settings
from django.dispatch import Signal

serving_started = Signal()  # on the event loop that serves, before the first request
limit_hit = Signal()  # code: str, as the client gets it; setting: str, "" for a limit of the caller's own or a budget

LIMIT_CODES = frozenset(("rate_limit_exceeded", "queue_full", "insufficient_quota", "limit_reached", "storage_full"))
_SETTING = re.compile(r"\bLIMIT_[A-Z_]+\b")


def tell_of_limit(code: str, message: str) -> None:
    """Send `limit_hit` if an error is about a limit: by its code, or as its message names the setting."""
    named = _SETTING.search(message)
    setting = named[0] if named and hasattr(settings, named[0]) else ""
    if setting or code in LIMIT_CODES:
        limit_hit.send_robust(None, code=code, setting=setting)
