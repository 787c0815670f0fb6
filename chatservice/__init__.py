"""Composition root: settings, urls, the ASGI application and the dialects. No models, no rules."""

__version__ = "2026.11.0"
