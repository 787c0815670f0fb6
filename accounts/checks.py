"""System checks of this app: who is let in."""

from __future__ import annotations

from django.conf import settings
from django.core.checks import Error, Warning, register


@register()
def anonymous_is_known(app_configs, **kwargs):
    if settings.ANONYMOUS not in ("auto", "off", "on"):
        return [Error("ANONYMOUS must be auto, off or on.", id="accounts.E001")]
    return []


@register(deploy=True)
def guests_are_limited(app_configs, **kwargs):
    if settings.ANONYMOUS == "on" and not (
        settings.LIMIT_RUNS_PER_GUEST and settings.LIMIT_GUEST_RUN_STARTS_PER_MINUTE and settings.LIMIT_RUNS_PER_IP
    ):
        return [Warning("ANONYMOUS=on without limits for guests: anybody can spend your tokens.", id="accounts.W001")]
    return []
