"""Remembers which headers of proxies the last requests had, for `manage.py doctor`: their names, never their values."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.conf import settings

from accounts.callers import FORWARDED
from accounts.proxies import missing_setting

FILE = "last_proxy.json"
EVERY_SECONDS = 60.0


class _Noted:
    """When this process looks at a request again, and what it saw."""

    next_at = 0.0
    seen: dict[str, Any] | None = None


_noted = _Noted()


def is_time_to_look() -> bool:
    return time.monotonic() >= _noted.next_at


def note_headers(headers: Mapping[str, str], *, secure: bool) -> None:
    """Store what a request (its headers' names in lower case) shows of the proxies in front, at most once a minute.

    A request without such headers, such as one of a probe on this machine, replaces none with them.
    """
    _noted.next_at = time.monotonic() + EVERY_SECONDS
    names = sorted(name for name in headers if name.startswith(FORWARDED))
    if not names and _noted.seen and _noted.seen["names"]:
        return
    hops = [hop for hop in headers.get("x-forwarded-for", "").split(",") if hop.strip()]
    seen = {"names": names, "hops": len(hops), "problem": missing_setting(headers, secure=secure)}
    if seen == _noted.seen:
        return
    _noted.seen = seen
    draft = _path().with_suffix(f".{os.getpid()}")
    with contextlib.suppress(OSError):  # a folder that cannot be written to: nothing depends on this
        draft.write_text(json.dumps(seen))
        draft.replace(_path())


def last_seen() -> dict[str, Any] | None:
    """Return `names` of headers, number of `hops` and `problem` of the last request that was looked at."""
    try:
        found: dict[str, Any] = json.loads(_path().read_text())
    except (OSError, ValueError):
        return None
    return found


def problem_of(seen: Mapping[str, Any]) -> str:
    """Return what does not fit the settings, and how to mend it; '' if all does."""
    count, names = settings.TRUSTED_PROXIES, ", ".join(seen["names"])
    if seen["problem"]:
        return str(seen["problem"])
    if not count and seen["names"]:
        return f"A proxy in front sends {names}, but TRUSTED_PROXIES is 0: set it to the number of proxies."
    if seen["hops"] < count:
        return (
            f"TRUSTED_PROXIES is {count}, but the last request came by {seen['hops']} that send X-Forwarded-For: let "
            "each proxy send it, or correct the number. See docs/proxies.md."
        )
    return ""


def _path() -> Path:
    path: Path = settings.VAR_DIR / FILE
    return path
