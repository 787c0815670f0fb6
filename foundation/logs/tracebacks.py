"""Shows where an error happened, without any value: its message, like local variables, may hold what somebody wrote."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any

HEADING = "Traceback (most recent call last):\n"
MAX_FRAMES = 50
MAX_ERRORS = 10


def unexpected(error: BaseException) -> dict[str, str]:
    """Return what to pass as `extra` when an unexpected error is logged. Unlike `exc_info`, no handler shows values."""
    return {"traceback": traceback_of(error)}


def traceback_of(error: BaseException) -> str:
    """Return the types of an error and of its causes, each with file, line, function and source line of its frames."""
    return "\n".join(list(_parts(error, set()))[:MAX_ERRORS])


def _parts(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen:
        yield from _parts(before, seen)
    places = traceback.StackSummary.extract(traceback.walk_tb(error.__traceback__))[-MAX_FRAMES:]
    yield HEADING + "".join(traceback.StackSummary.from_list(places).format()) + name_of(type(error))
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            if id(each) not in seen:
                yield from _parts(each, seen)


def name_of(kind: type[BaseException]) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def log_uncaught_errors() -> None:
    """Log what ends this process or one of its threads, instead of Python's own output, which has the message."""
    logger = logging.getLogger(__name__)

    def note(error: BaseException | None, what: str) -> None:
        if error is not None:
            logger.critical("%s: %s", what, name_of(type(error)), extra=unexpected(error))

    def end(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> Any:
        if issubclass(kind, KeyboardInterrupt):
            return sys.__excepthook__(kind, error, where)
        return note(error, "the process ends")

    sys.excepthook = end
    sys.unraisablehook = lambda found: note(found.exc_value, "ignored")
    threading.excepthook = lambda found: note(found.exc_value, "a thread ended")
    logging.raiseExceptions = False  # the report of a line that cannot be written repeats its arguments
