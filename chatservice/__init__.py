"""Composition root: settings, urls, the ASGI application and the dialects. No models, no rules."""
