"""Measurements run by hand: a mock upstream, a load generator, the competitors. Nothing imports it; no Django here."""
