"""What can be wrong with bytes that never become a request."""

from __future__ import annotations

from enum import Enum, auto


class Fault(Enum):
    """Why a connection is refused what it sends; whoever builds on this package says it in its own words."""

    INVALID = auto()
    LONG_URL = auto()
    LARGE_HEADERS = auto()
    MANY_HEADERS = auto()
    SLOW_HEADERS = auto()
    SLOW_BODY = auto()
