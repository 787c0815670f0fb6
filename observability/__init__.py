"""Metrics for Prometheus. Nothing imports this folder: it listens to signals and reads state, and can be deleted."""
