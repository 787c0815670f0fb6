"""Identifies callers: users, keys, the one reader of credentials, limits. Imports no other app."""
