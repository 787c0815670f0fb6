"""Decides from this process's experience whether to ask an upstream: the circuit breaker and the cool-down."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from completions.exceptions import UpstreamUnavailable

logger = logging.getLogger(__name__)

FAILURES: Final = 5
FAILURES_WITHIN: Final = 30.0
OPEN_SECONDS: Final = 10.0
COOL_SECONDS: Final = 5.0
COOL_CAP: Final = 60.0


class Health:
    """The state of one upstream as this process knows it. `clock` counts seconds.

    Five failed connections within 30 s open the breaker: for 10 s nothing is sent. Then one request is sent as a probe,
    and its result decides. An upstream that is cooling down is asked only after the others that have the model.
    """

    def __init__(self, name: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._name, self._clock = name, clock
        self._failures: deque[float] = deque(maxlen=FAILURES)
        self._open_until = 0.0
        self._cool_until = 0.0
        self._probing = False

    @property
    def is_open(self) -> bool:
        """Tell whether the breaker is open: nothing may be sent, or only one probe."""
        return bool(self._open_until)

    def admit(self) -> None:
        """Note that a request is sent now; raises UpstreamUnavailable if none may be."""
        if not self._open_until:
            return
        left = self._open_until - self._clock()
        if left > 0 or self._probing:
            raise UpstreamUnavailable(retry_after=max(1, math.ceil(left)))
        self._probing = True

    def reached(self) -> None:
        """Note that the upstream accepted a connection."""
        if self._open_until:
            logger.warning("upstream %s: can be reached again", self._name)
            self._open_until = 0.0
        self._probing = False
        self._failures.clear()

    def unreachable(self) -> None:
        """Note that the upstream accepted no connection."""
        now = self._clock()
        self._failures.append(now)
        often = len(self._failures) == FAILURES and now - self._failures[0] <= FAILURES_WITHIN
        if often or self._probing:
            if not self._open_until:
                logger.warning("upstream %s: cannot be reached, not asked for %d s", self._name, OPEN_SECONDS)
            self._open_until = now + OPEN_SECONDS
        self._probing = False

    def abandoned(self) -> None:
        """Note that a request has no result because its client left first."""
        self._probing = False

    def cool(self, seconds: float | None) -> None:
        """Prefer other upstreams for `seconds`, at most a minute."""
        self._cool_until = max(self._cool_until, self._clock() + min(seconds or COOL_SECONDS, COOL_CAP))

    def wait(self) -> float:
        """Return the seconds until this upstream should be preferred again; 0 means now."""
        return max(0.0, self._cool_until - self._clock(), self._open_until - self._clock() if self.is_open else 0.0)
