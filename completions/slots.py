"""How many answers one caller follows at once, in this process: an open stream costs memory and a socket."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from django.conf import settings

from accounts.principal import Principal
from completions.exceptions import TooManyRuns

_open: Counter[str] = Counter()


def take_stream_slot(principal: Principal) -> Callable[[], None]:
    """Count one more open stream and return what ends it; raises TooManyRuns."""
    user, address = f"user:{principal.user_id}", f"ip:{principal.address}"
    limits = (
        (user, settings.LIMIT_STREAMS_PER_USER),
        (address, settings.LIMIT_STREAMS_PER_IP),
        ("process", settings.LIMIT_STREAMS_PER_PROCESS),
    )
    for name, limit in limits:
        if limit and _open[name] >= limit:
            raise TooManyRuns("Too many open streams.", retry_after=1)
    for name, _ in limits:
        _open[name] += 1
    released = False

    def release() -> None:
        nonlocal released
        if not released:
            released = True
            for name, _ in limits:
                _open[name] -= 1
                if not _open[name]:
                    del _open[name]

    return release


def open_streams() -> int:
    """Return how many are open in this process."""
    return _open["process"]
