"""What is logged: never a prompt, an answer, a key or a query string."""

from __future__ import annotations

from typing import Any


def logging_config(level: str) -> dict[str, Any]:
    """Return Django's LOGGING for messages of this level and above."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": "{asctime} {levelname} {name} {message}", "style": "{"}},
        "filters": {"no_outages": {"()": "foundation.outages.NoOutages"}},
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["console"], "level": level},
        "loggers": {
            # At lower levels these log URLs with query strings, headers or whole bodies.
            **{
                name: {"level": "WARNING"}
                for name in ("openai", "httpx", "httpx2", "httpcore", "aiohttp", "urllib3", "daphne", "asyncio")
            },
            # One level lower, it logs at every start where on this machine it found the model.
            "sentence_transformers": {"level": "WARNING"},
            "django.request": {"level": "ERROR", "filters": ["no_outages"]},
            # It logs one line for every attempt to connect while the database is down.
            "psycopg.pool": {"level": "ERROR"},
            "django.db.backends": {"level": "WARNING"},
        },
    }
