"""Backups: one consistent snapshot of the database, the files that it refers to, and the secrets, in a folder."""
