"""The reasons for refusing incoming bytes that never become a request."""

from __future__ import annotations

from enum import Enum, auto


class Fault(Enum):
    """Why incoming bytes are refused; the service that uses this package words the response."""

    INVALID = auto()
    LONG_URL = auto()
    LARGE_HEADERS = auto()
    MANY_HEADERS = auto()
    SLOW_HEADERS = auto()
    SLOW_BODY = auto()
