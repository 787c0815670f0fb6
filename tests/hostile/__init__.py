"""Hostile inputs, as data: what no client sends in good faith."""
