"""Which pages of other origins may call the APIs and open sockets with a key (CORS_ALLOWED_ORIGINS)."""

from __future__ import annotations

from django.conf import settings


def may_call_with_key(origin: str) -> bool:
    """Tell whether a page of this origin may; its cookies never count (sessions.py)."""
    return "*" in settings.CORS_ALLOWED_ORIGINS or origin in settings.CORS_ALLOWED_ORIGINS
