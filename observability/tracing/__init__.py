"""Traces by OpenTelemetry, if they are on. Nothing imports this folder: it listens to signals, and can be deleted."""
