"""Errors of backups; their messages say what to do, and hold no secret."""


class BackupError(Exception):
    """A backup cannot be made, is not whole, or cannot be restored."""
