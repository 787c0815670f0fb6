"""System checks of this app: settings that would surprise an operator."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import Error, register

from completions.providers import APIS, DOCUMENTS
from completions.request_policy import EVERYBODY, GROUP, GUEST, STAFF, USER
from completions.sendable import HEADER_NAME, HEADER_VALUE, is_http_url


@register()
def default_upstream_exists(app_configs: Any, **kwargs: Any) -> list[Error]:
    if settings.DEFAULT_UPSTREAM != "echo" and settings.DEFAULT_UPSTREAM not in settings.UPSTREAMS:
        return [
            Error(
                f"DEFAULT_UPSTREAM names {settings.DEFAULT_UPSTREAM!r}, which is not in UPSTREAMS.",
                id="completions.E001",
            )
        ]
    return []


@register()
def models_allowed_are_understood(app_configs: Any, **kwargs: Any) -> list[Error]:
    allowed: Any = settings.MODELS_ALLOWED
    if not isinstance(allowed, dict):
        return [Error("MODELS_ALLOWED must be a JSON object.", id="completions.E003")]
    problems = [
        f"MODELS_ALLOWED, {name!r}: must be '*', 'guest', 'staff', 'user:NAME' or 'group:NAME'."
        for name in allowed
        if name not in (EVERYBODY, GUEST, STAFF) and not (name.startswith((USER, GROUP)) and name.partition(":")[2])
    ]
    problems += [
        f"MODELS_ALLOWED, {name!r}: must be a list of patterns."
        for name, patterns in allowed.items()
        if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns)
    ]
    return [Error(problem, id="completions.E003") for problem in problems]


# The options of an upstream and their types; completions/providers/__init__.py describes each option.
OPTIONS: dict[str, type | tuple[type, ...]] = {
    "base_url": str,
    "api": str,
    "api_key": str,
    "models": list,
    "priority": (int, float),
    "rename": dict,
    "strip_prefix": bool,
    "headers": dict,
    "usage_in_stream": bool,
    "alternate_roles": bool,
    "reasoning_back": bool,
    "documents": str,
    "max_connections": int,
    "ca_file": str,
    "proxy": str,
}


@register()
def upstreams_are_understood(app_configs: Any, **kwargs: Any) -> list[Error]:
    problems = [problem for name, config in settings.UPSTREAMS.items() for problem in _problems_of(name, config)]
    return [Error(problem, id="completions.E002") for problem in problems]


def _problems_of(name: str, config: Any) -> list[str]:
    where = f"UPSTREAMS, {name!r}"
    if not isinstance(config, dict):
        return [f"{where}: must be an object."]
    found = [
        f"{where}: {option!r} is not an option; use one of {', '.join(OPTIONS)}." for option in config.keys() - OPTIONS
    ]
    found += [
        f"{where}: {option!r} has a value of the wrong type."
        for option, kind in OPTIONS.items()
        if config.get(option) is not None
        and (not isinstance(config[option], kind) or (kind is not bool and isinstance(config[option], bool)))
    ]
    found += [
        f"{where}: each entry of {option!r} must be a string."
        for option in ("models", "rename", "headers")
        if not found and not all(isinstance(value, str) for value in _entries(config.get(option)))
    ]
    if found:
        return found
    if config.get("max_connections") is not None and config["max_connections"] < 1:
        found.append(f"{where}: max_connections must be 1 or more.")
    if (name != "echo" or config.get("base_url")) and not is_http_url(config.get("base_url") or ""):
        found.append(f"{where}: needs a base_url that starts with http:// or https://.")
    if config.get("api") is not None and config["api"] not in APIS:
        found.append(f"{where}: api must be one of {', '.join(APIS)}, not {config['api'][:50]!r}.")
    if config.get("documents") is not None and config["documents"] not in DOCUMENTS:
        found.append(f"{where}: documents must be one of {', '.join(DOCUMENTS)}, not {config['documents'][:50]!r}.")
    if config.get("proxy") and not is_http_url(config["proxy"]):
        found.append(f"{where}: proxy must be an address that starts with http:// or https://.")
    if not HEADER_VALUE.fullmatch(config.get("api_key") or ""):
        found.append(f"{where}: api_key cannot be sent: use ASCII on one line, without spaces before or after.")
    headers = config.get("headers") or {}
    if not all(map(HEADER_NAME.fullmatch, headers)) or not all(map(HEADER_VALUE.fullmatch, headers.values())):
        found.append(f"{where}: headers cannot be sent: use names without spaces, and values in ASCII on one line.")
    if config.get("ca_file") and not Path(config["ca_file"]).is_file():
        found.append(f"{where}: there is no file {config['ca_file']}.")
    return found


def _entries(value: list[Any] | dict[str, Any] | None) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value or []


@register()
def redis_url_is_understood(app_configs: Any, **kwargs: Any) -> list[Error]:
    """Refuse an address that the Redis client would reject only later, or of which it would ignore a part."""
    problem = _problem_of_redis(settings.REDIS_URL) if settings.REDIS_URL else ""
    return [Error(f"REDIS_URL {problem}", id="completions.E004")] if problem else []


def _problem_of_redis(url: str) -> str:
    """Say what is wrong with `url`, without repeating it: it may hold a password."""
    import redis.asyncio  # most services have none

    try:
        pool = redis.asyncio.ConnectionPool.from_url(url)
        pool.connection_class(**pool.connection_kwargs)
        parts = urlsplit(url)
        if parts.scheme == "unix" or re.fullmatch(r"/?\d*", parts.path):
            return ""
    except TypeError as error:
        option = re.search(r"argument '(\w+)'", str(error))
        return f"has an unknown option{f' {option[1]!r}' if option else ''}."
    except Exception:  # noqa: S110  of whatever kind: the address is of no use
        pass
    return "cannot be read: it has the form redis://USER:PASSWORD@HOST:PORT/NUMBER."
