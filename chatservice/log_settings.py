"""The settings of logs; chatservice/settings.py applies them. `foundation/logs/` decides what a line holds."""

from __future__ import annotations

import sys
from typing import Any

from chatservice.environment import Environment
from foundation.logs.formatters import OUR_PACKAGES

# --- Logs: never a prompt, an answer, a key, a header or a query string (docs/operations.md) -----


def log_settings(env: Environment, *, debug: bool) -> tuple[bool, dict[str, Any]]:
    """Return REQUEST_LOG and Django's LOGGING."""
    # The lowest level of messages that are logged; of other people's libraries it is WARNING or above.
    level = env.str("LOG_LEVEL", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"))
    # How lines are written: `json` is one object a line, `plain` is for people. `auto` is plain on a terminal and with
    # DEBUG=true, otherwise JSON.
    form = env.str("LOG_FORMAT", default="auto", choices=("auto", "json", "plain"))
    # Whether each request, stream and websocket is logged at its end, in a line of its own.
    request_log = env.bool("REQUEST_LOG", default=False)
    is_plain = form == "plain" or (form == "auto" and (debug or _is_terminal()))
    return request_log, _logging(level, "PlainFormatter" if is_plain else "JsonFormatter")


def _logging(level: str, formatter: str) -> dict[str, Any]:
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": f"foundation.logs.formatters.{formatter}"}},
        "filters": {"no_outages": {"()": "foundation.outages.NoOutages"}},
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
        # Others' libraries log URLs with query strings, headers or whole bodies at lower levels.
        "root": {"handlers": ["console"], "level": level if level in ("ERROR", "CRITICAL") else "WARNING"},
        "loggers": {
            **{name: {"level": level} for name in OUR_PACKAGES},
            # Without the handlers of Django's default configuration, which would repeat lines, and with values.
            "django": {"level": "WARNING", "handlers": []},
            "django.server": {"level": "WARNING", "handlers": [], "propagate": True},
            "django.request": {"level": "ERROR", "filters": ["no_outages"]},
            # It logs one line for every attempt to connect while the database is down.
            "psycopg.pool": {"level": "ERROR"},
        },
    }


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()
