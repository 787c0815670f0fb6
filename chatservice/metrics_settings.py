"""The settings of metrics; chatservice/settings.py applies them."""

from __future__ import annotations

import re

from chatservice.environment import Environment, is_ip_address

APP, MIDDLEWARE = "observability", "observability.middleware.MetricsMiddleware"
MIN_TOKEN_CHARS = 16

# --- Metrics for Prometheus (off unless there is a port or a token; docs/metrics.md has each figure) ---


def metrics_settings(env: Environment, apps: list[str], middleware: list[str]) -> tuple[str, int, str]:
    """Return where metrics are read: address, port (0: none), and token; add what counts to `apps` and `middleware`."""
    # The port that answers only `/metrics`, without a credential, for this process. `0`: none.
    port = env.int("METRICS_PORT", default=0, maximum=65_535)
    # The address of this machine for that port: others than this machine reach it only if you set another one.
    host = env.str("METRICS_HOST", default="127.0.0.1").strip()
    if not (re.fullmatch(r"[\w.-]+", host) or is_ip_address(host)):
        env.problem("METRICS_HOST must be an address or a name of this machine, without a port, quotes or brackets.")
    # What `Authorization: Bearer …` must say for `/metrics` on PORT: at least 16 random characters. Without it, that
    # path is 404.
    token = env.secret("METRICS_TOKEN")
    if token and len(token) < MIN_TOKEN_CHARS:
        env.problem(f"METRICS_TOKEN must have at least {MIN_TOKEN_CHARS} characters.")
    if port or token:
        apps.append(APP)
        middleware.insert(0, MIDDLEWARE)
    return host, port, token
