"""System checks of this app: settings that would surprise an operator."""

from __future__ import annotations

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
