"""Turns DATABASE_URL into Django's database settings: every option of the URL is either used or refused.

Everything here raises ValueError with the rest of a sentence that begins with "DATABASE_URL", and never repeats a
password.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_plus

SQLITE = "foundation.sqlite"
POSTGRESQL = "foundation.postgresql"
FORM = "postgres://USER:PASSWORD@HOST:PORT/NAME, with special characters percent-encoded"

# Settings of each PostgreSQL session (foundation/postgresql). A process that hangs inside a transaction keeps its locks
# no longer than its leases. Our statements are short: a server with JIT would compile some of them for longer than they
# run.
SESSION_SETTINGS = {
    "statement_timeout": "10s",
    "lock_timeout": "3s",
    "idle_in_transaction_session_timeout": "8s",
    "jit": "off",
}
# Defaults of the connection, under libpq's names; the URL or libpq's own environment variables override them.
CONNECTION_DEFAULTS = {
    "connect_timeout": "5",
    # The timeout for unacknowledged bytes, in milliseconds, and keepalives for idle connections: both shorter than a
    # lease.
    "tcp_user_timeout": "6000",
    "keepalives_idle": "5",
    "keepalives_interval": "1",
    "keepalives_count": "3",
}
# Options that Django or this service sets itself; a value in the URL would be ignored.
RESERVED_OPTIONS = {"client_encoding", "replication", "fallback_application_name"}

# WAL alone makes lock conflicts worse; with IMMEDIATE and a timeout, writers queue up and do not fail. The timeout is
# in seconds, below the journal's own limit and so below a lease: a writer that waits longer gets an error.
SQLITE_TIMEOUT = 7.0
SQLITE_OPTIONS = ("timeout", "init_command")


def database_from_url(
    url: str, *, base: Path, pool: Mapping[str, Any], sqlite_pragmas: str, data_directory: Path | None = None
) -> dict[str, Any]:
    """Return the entry of DATABASES for `url`; relative SQLite paths start at `base`.

    The directory of an SQLite file must exist, except for `data_directory`, which the first start creates.
    """
    scheme = url.partition("://")[0]
    if scheme == "sqlite":
        return _sqlite(url, base=base, pragmas=sqlite_pragmas, data_directory=data_directory)
    if scheme in ("postgres", "postgresql", "psql", "pgsql"):
        return _postgresql(url.replace(scheme, "postgresql", 1), pool=pool)
    raise ValueError("must begin with postgres:// or sqlite:///.")


def _sqlite(url: str, *, base: Path, pragmas: str, data_directory: Path | None) -> dict[str, Any]:
    address, _, query = url.removeprefix("sqlite://").partition("?")
    options = _options_of(query, known=SQLITE_OPTIONS)
    try:
        timeout = float(options.get("timeout", SQLITE_TIMEOUT))
    except ValueError:
        timeout = 0
    if not 0 < timeout < 3600:
        raise ValueError("has a timeout that is not a number of seconds.")
    database: dict[str, Any] = {
        "ENGINE": SQLITE,
        "NAME": ":memory:",
        "CONN_MAX_AGE": 0,
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": timeout,
            "init_command": f"{pragmas} {options.get('init_command', '')}".strip(),
        },
    }
    if address in ("", "/", ":memory:", "/:memory:"):
        return database
    if not address.startswith("/"):
        raise ValueError("names a host: write a file as sqlite:///relative/path or sqlite:////absolute/path.")
    path = (base / unquote(address[1:])).resolve()
    if path.is_dir():
        raise ValueError(f"names {path}, which is a directory.")
    if not path.parent.is_dir() and path.parent != data_directory:
        raise ValueError(f"needs {path.parent} to exist.")
    return {**database, "NAME": str(path)}


def _postgresql(url: str, *, pool: Mapping[str, Any]) -> dict[str, Any]:
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict
    from psycopg.pq import Conninfo

    variables = {
        option.keyword.decode(): option.envvar.decode() if option.envvar else "" for option in Conninfo.get_defaults()
    }
    if "?" in url:
        _options_of(url.rpartition("?")[2], known=variables.keys() - RESERVED_OPTIONS)
    try:
        given = {name: str(value) for name, value in conninfo_to_dict(url).items()}
    except ProgrammingError:  # its message may contain the password
        raise ValueError(f"cannot be read: it has the form {FORM}.") from None
    address = {name: given.pop(name, "") for name in ("dbname", "user", "password", "host", "port")}
    if not re.fullmatch(r"[\d,]*", address["port"]) or "@" in address["host"]:
        raise ValueError(f"has no usable host and port: it has the form {FORM}.")
    if not address["dbname"] and "service" not in given:
        raise ValueError(f"names no database: it has the form {FORM}.")
    defaults = {name: value for name, value in CONNECTION_DEFAULTS.items() if variables[name] not in os.environ}
    asked = given.pop("options", "") or os.environ.get("PGOPTIONS", "")
    return {
        "ENGINE": POSTGRESQL,
        "NAME": address["dbname"],
        "USER": address["user"],
        "PASSWORD": address["password"],
        "HOST": address["host"],
        "PORT": address["port"],
        "CONN_MAX_AGE": 0,
        "OPTIONS": {
            **defaults,
            **given,
            "session_settings": {**SESSION_SETTINGS, **_session_settings(asked)},
            "pool": dict(pool),
        },
    }


def _options_of(query: str, *, known: Collection[str]) -> dict[str, str]:
    """Return the options of a URL by name; each must be known, occur once, and have a value."""
    options: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        if not re.fullmatch(r"\w+", name):
            raise ValueError("has options that cannot be read: they have the form ?name=value&name=value.")
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            suggestion = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"has an unknown option {name!r}.{suggestion}")
        if not value:
            raise ValueError(f"has no value for the option {name!r}.")
        if name in options:
            raise ValueError(f"has the option {name!r} twice.")
        options[name] = unquote_plus(value)
    return options


def _session_settings(options: str) -> dict[str, str]:
    """Return the settings in libpq's `options`: `-c name=value` or `--name=value`, with backslashes before spaces."""
    words = [re.sub(r"\\(.)", r"\1", word) for word in re.findall(r"(?:\\.|[^\\\s])+", options)]
    settings: dict[str, str] = {}
    while words:
        word = words.pop(0)
        if word == "-c" and words:
            word = words.pop(0)
        elif word.startswith(("-c", "--")):
            word = word[2:]
        else:
            word = ""
        name, equals, value = word.partition("=")
        if not equals or not re.fullmatch(r"[\w.-]+", name):
            raise ValueError("has 'options' that cannot be read: they have the form -c name=value.")
        settings[name.replace("-", "_")] = value
    return settings
