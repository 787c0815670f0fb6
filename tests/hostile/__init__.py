"""Hostile inputs, as data: what no well-meaning client sends."""
