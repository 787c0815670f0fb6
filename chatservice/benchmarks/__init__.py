"""Measurements run by hand: a mock upstream, a load generator, the contestants. Imported by nothing, no Django here."""
