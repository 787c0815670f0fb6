"""Tests of the whole service: every API, several processes, real proxies, browsers and databases that fail."""
