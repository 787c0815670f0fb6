"""Whether there are traces, by the standard variables of OpenTelemetry: docs/traces.md."""

from __future__ import annotations

import os
from importlib.metadata import entry_points

from chatservice.environment import Environment

APP, MIDDLEWARE = "observability.tracing", "observability.tracing.middleware.TraceMiddleware"
EXPORTERS = "opentelemetry_traces_exporter"
SWITCHES = ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def trace_settings(env: Environment, apps: list[str], middleware: list[str]) -> None:
    """Add what traces to `apps` and `middleware`, if one of SWITCHES asks for it and its packages are installed."""
    env.pass_on("OTEL_")
    is_disabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    exporter = exporter_name()
    if is_disabled or exporter == "none" or not any(os.environ.get(name) for name in SWITCHES):
        return
    if exporter not in entry_points(group=EXPORTERS).names:
        env.warn("There are no traces, which OTEL_* asks for: pip install -r requirements-traces.txt (docs/traces.md).")
        return
    apps.append(APP)
    middleware.insert(0, MIDDLEWARE)


def exporter_name() -> str:
    """Return the name of the exporter among the entry points EXPORTERS."""
    name = os.environ.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"
    return "otlp_proto_http" if name == "otlp" else name
