"""The composition root: settings, urls, the ASGI application and the dialects. No models, no business rules."""

__version__ = "2026.11.0"
