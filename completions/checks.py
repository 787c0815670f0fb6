"""System checks of this app: settings that would surprise an operator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import Error, Warning, register


@register(deploy=True)
def leases_outlast_heartbeats(app_configs, **kwargs):
    if settings.LEASE_SECONDS < 3 * settings.HEARTBEAT_SECONDS:
        return [
            Warning(
                "LEASE_SECONDS should be at least three times HEARTBEAT_SECONDS: one late one would end live runs.",
                id="completions.W001",
            )
        ]
    return []


@register()
def default_upstream_exists(app_configs, **kwargs):
    if settings.DEFAULT_UPSTREAM != "echo" and settings.DEFAULT_UPSTREAM not in settings.UPSTREAMS:
        return [
            Error(
                f"DEFAULT_UPSTREAM names {settings.DEFAULT_UPSTREAM!r}, which is not in UPSTREAMS.",
                id="completions.E001",
            )
        ]
    return []


# The options of an upstream and their types; completions/providers/__init__.py says what each is for.
OPTIONS: dict[str, type | tuple[type, ...]] = {
    "base_url": str,
    "api_key": str,
    "models": list,
    "priority": (int, float),
    "rename": dict,
    "strip_prefix": bool,
    "headers": dict,
    "usage_in_stream": bool,
    "max_connections": int,
    "ca_file": str,
    "proxy": str,
}


@register()
def upstreams_are_understood(app_configs, **kwargs):
    problems = [problem for name, config in settings.UPSTREAMS.items() for problem in _problems_of(name, config)]
    return [Error(problem, id="completions.E002") for problem in problems]


def _problems_of(name: str, config: Any) -> list[str]:
    where = f"UPSTREAMS, {name!r}"
    if not isinstance(config, dict):
        return [f"{where}: must be an object."]
    found = [f"{where}: {option!r} is no option; there are {', '.join(OPTIONS)}." for option in config.keys() - OPTIONS]
    found += [
        f"{where}: {option!r} has a value of the wrong type."
        for option, kind in OPTIONS.items()
        if config.get(option) is not None
        and (not isinstance(config[option], kind) or (kind is not bool and isinstance(config[option], bool)))
    ]
    if found:
        return found
    if name != "echo" and not str(config.get("base_url") or "").startswith(("http://", "https://")):
        found.append(f"{where}: needs a base_url that starts with http:// or https://.")
    if config.get("proxy") and not config["proxy"].startswith(("http://", "https://")):
        found.append(f"{where}: proxy must start with http:// or https://.")
    if config.get("ca_file") and not Path(config["ca_file"]).is_file():
        found.append(f"{where}: there is no file {config['ca_file']}.")
    return found
