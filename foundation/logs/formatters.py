"""Writes log lines: one JSON object each, or plain ones for people.

Lines of other people's software may hold anything: a path, a header, an error's message. Of these, only the constant
part is written.
"""

from __future__ import annotations

import http
import json
import logging
from datetime import UTC, datetime
from numbers import Number
from pathlib import Path
from typing import Any

import msgspec

from foundation.logs.context import NAMES, log_context
from foundation.logs.tracebacks import name_of, traceback_of

# Everything a line may have besides message and traceback: what else a caller passes as `extra` is not written.
FIELDS = (
    *NAMES,
    *(
        "status",
        "state",
        "duration_ms",
        "model",
        "upstream",
        "input_tokens",
        "output_tokens",
        "cost",
        "currency",
        "error_code",
    ),
)
OUR_PACKAGES = frozenset(path.parent.name for path in Path(__file__).resolve().parents[2].glob("*/__init__.py"))
encode = msgspec.json.Encoder(enc_hook=str).encode


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time`, `level`, `logger`, `message`, those of FIELDS that are known, `traceback`."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": message_of(record),
            **fields_of(record),
        }
        if found := traceback_in(record):
            line["traceback"] = found
        return encode(line).decode()


class PlainFormatter(logging.Formatter):
    """Time, level, logger and message; a line that has fields of its own shows all of them."""

    def format(self, record: logging.LogRecord) -> str:
        parts = [self.formatTime(record), record.levelname, record.name, message_of(record)]
        if any(hasattr(record, name) for name in FIELDS):
            parts += [f"{name}={plain(value)}" for name, value in fields_of(record).items()]
        found = traceback_in(record)
        return " ".join(parts) + (f"\n{found}" if found else "")


def is_ours(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] in OUR_PACKAGES


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return those of FIELDS that are known of a line, by its own account or by that of its request."""
    context = log_context.get(None)
    fields = context.known() if context is not None else {}
    own = {name: value for name in FIELDS if (value := getattr(record, name, None)) is not None}
    return {**fields, **own}


def plain(value: Any) -> str:
    text = str(value)
    return text if text.isprintable() and " " not in text else json.dumps(text)


def message_of(record: logging.LogRecord) -> str:
    """Return a line's message; of others' messages only the first line, with numbers as their only values."""
    if is_ours(record):
        return record.getMessage()
    status = getattr(record, "status_code", None)
    if status is not None and record.name.startswith("django."):  # its arguments are a path, or a header
        return http.HTTPStatus(status).phrase if status in list(http.HTTPStatus) else f"status {status}"
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, BaseException):  # the message may be made of it
        return f"unexpected {name_of(type(error))}"
    if not isinstance(record.msg, str):
        return f"a {type(record.msg).__name__}"
    return _constant_part(record).partition("\n")[0]


def _constant_part(record: logging.LogRecord) -> str:
    if isinstance(record.args, tuple):
        shown = tuple(value if isinstance(value, Number) else Hidden() for value in record.args)
        try:
            return record.msg % shown if shown else record.msg
        except (TypeError, ValueError):
            pass
    return record.msg if not record.args else record.msg.partition("%")[0]


class Hidden:
    """Stands for a value that is not written."""

    def __repr__(self) -> str:
        return "…"


def traceback_in(record: logging.LogRecord) -> str:
    """Return the traceback of a line without values; '' if it has none."""
    error = record.exc_info[1] if record.exc_info else None
    return getattr(record, "traceback", "") or (traceback_of(error) if error is not None else "")
