"""Limits how many streams and sockets one caller keeps open in this process: each costs memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from django.conf import settings

from accounts.addresses import address_key
from accounts.callers import Principal
from accounts.websocket_auth import caller_of_scope, offers_credentials
from completions.exceptions import TooManyRuns

Release = Callable[[], None]
"""Gives a slot back; calling it again does nothing."""

STREAMS, SOCKETS = "open streams", "open websockets"
_SETTINGS = {
    STREAMS: ("LIMIT_STREAMS_PER_USER", "LIMIT_STREAMS_PER_IP", "LIMIT_STREAMS_PER_PROCESS"),
    SOCKETS: ("LIMIT_SOCKETS_PER_USER", "LIMIT_SOCKETS_PER_IP", "LIMIT_SOCKETS_PER_PROCESS"),
}
_open: Counter[tuple[str, str]] = Counter()


def acquire_stream(principal: Principal) -> Release:
    """Count one more open stream and return its release; raises TooManyRuns."""
    return _take(STREAMS, _counted(principal), known=not principal.has_guest_limits)


def acquire_socket(principal: Principal) -> Release:
    """Count one more open websocket, whatever it is used for, and return its release; raises TooManyRuns."""
    return _take(SOCKETS, _counted(principal), known=not principal.has_guest_limits)


def acquire_unauthenticated_socket(scope: dict[str, Any]) -> Release:
    """Count an open websocket that is not admitted yet: by its address, together with the guests from there.

    A socket that offers a credential counts only towards the process's limit until the credential is checked, so that
    guests at the same address cannot keep it out.
    """
    caller = None if offers_credentials(scope) else address_key(caller_of_scope(scope).address)
    return _take(SOCKETS, caller, known=False)


def open_streams() -> int:
    """Return how many streams are open in this process."""
    return _open[STREAMS, "process"]


def open_sockets() -> int:
    """Return how many websockets are open in this process."""
    return _open[SOCKETS, "process"]


def _counted(principal: Principal) -> str | None:
    return principal.limit_key if principal.is_counted else None


def _take(kind: str, caller: str | None, *, known: bool) -> Release:
    per_user, per_address, per_process = _SETTINGS[kind]
    limits = [("process", per_process, "in this process")]
    if caller is not None and known:
        limits.insert(0, (caller, per_user, "for one user"))
    elif caller is not None:
        limits.insert(0, (caller, per_address, "without a key from one address"))
    for name, setting, whose in limits:
        limit = getattr(settings, setting)
        if limit and _open[kind, name] >= limit:
            raise TooManyRuns(f"At most {limit} {kind} {whose} ({setting}).", retry_after=1)
    for name, _, _ in limits:
        _open[kind, name] += 1
    released = False

    def release() -> None:
        nonlocal released
        if not released:
            released = True
            for name, _, _ in limits:
                _open[kind, name] -= 1
                if not _open[kind, name]:
                    del _open[kind, name]

    return release
