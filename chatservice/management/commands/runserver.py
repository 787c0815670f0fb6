"""`manage.py runserver`: Daphne with autoreload, for development; use `serve` in production.

This is a command of ours because the app `daphne`, which has one, would load Twisted into every process.
"""

from daphne.management.commands.runserver import Command

__all__ = ["Command"]
