"""Measurements run by hand: a mock upstream, a load generator, the competitors. Imported by nothing, no Django here."""
